"""What a sweep tells: importance, pictures, figures and queries over its runs. Nothing here touches a store.

Public, each imported from its module so that `sweep runs` pays for neither numpy nor matplotlib:
`table.SweepTable`, `history.History`, `importance.importance`, `terminal.importance_lines`, `summary.summary`,
`figures.write_plots`, `records.record`, `comma.to_csv`, `query.select`.
"""
