"""The parameters of a `sweep.yaml`: one model for each distribution, and one for a group.

The rule of this file: structure only, as in `_models`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from sweep.spec import _fields as f


class Model(BaseModel):
    """Base: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- parameters ------------------------------------------------------------------------------------------------


class ParameterModel(Model):
    """What every parameter has."""

    when: dict[str, Any] | None = Field(
        default=None,
        description="The parameter is part of a config only where each parameter named here has the value (or one of the list of values) that stands beside it.",
        examples=[{"optimizer": "sgd"}],
    )


class ConstantParameter(ParameterModel):
    """Always the same value."""

    distribution: Literal["constant"] = "constant"
    value: Any = Field(description="Any YAML value.", examples=[0.1, "adam"])


class CategoricalParameter(ParameterModel):
    """One of several values, all equally likely. Equal values count once (3 and 3.0 are equal, 1 and true are not)."""

    distribution: Literal["categorical"] = "categorical"
    values: list[Any] = Field(
        description="Any YAML values: numbers, text, null, lists, mappings.", examples=[[16, 32, 64]]
    )


class WeightedParameter(ParameterModel):
    """One of several values, each with its own probability. Not for `method: grid`."""

    distribution: Literal["categorical_w_probabilities"] = "categorical_w_probabilities"
    values: list[Any] = Field(description="Any YAML values.", examples=[["adam", "sgd"]])
    probabilities: list[f.Share] = Field(
        description="One for each value; they add up to 1.", examples=[[0.8, 0.2]]
    )


class IntUniformParameter(ParameterModel):
    """A whole number, all equally likely, both ends included."""

    distribution: Literal["int_uniform"] = "int_uniform"
    min: f.Whole = Field(description="Lower bound.", examples=[1])
    max: f.Whole = Field(description="Upper bound.", examples=[10])


class UniformParameter(ParameterModel):
    """A number between two bounds."""

    distribution: Literal[
        "uniform", "log_uniform", "inv_log_uniform", "log_uniform_values", "inv_log_uniform_values"
    ] = "uniform"
    min: f.Number = Field(description="Lower bound.", examples=[0.0])
    max: f.Number = Field(description="Upper bound.", examples=[0.5])


class QUniformParameter(ParameterModel):
    """A multiple of q between two bounds."""

    distribution: Literal["q_uniform", "q_log_uniform", "q_log_uniform_values"] = "q_uniform"
    min: f.Number = Field(description="Lower bound.", examples=[0.0])
    max: f.Number = Field(description="Upper bound.", examples=[0.5])
    q: f.Positive = Field(
        default=1.0, description="The step. A whole number (2, not 2.0) gives integers.", examples=[0.05]
    )


class NormalParameter(ParameterModel):
    """A number without bounds, around a middle."""

    distribution: Literal["normal", "log_normal"]
    mu: f.Number = Field(default=0.0, description="Mean (of the logarithm, for `log_normal`).")
    sigma: f.Positive = Field(
        default=1.0, description="Standard deviation (of the logarithm, for `log_normal`)."
    )


class QNormalParameter(NormalParameter):
    """A multiple of q without bounds, around a middle."""

    distribution: Literal["q_normal", "q_log_normal"]  # type: ignore[assignment]
    q: f.Positive = Field(default=1.0, description="The step. A whole number (2, not 2.0) gives integers.")


class BetaParameter(ParameterModel):
    """A number between 0 and 1, Beta(a, b)."""

    distribution: Literal["beta"]
    a: f.Positive = Field(default=1.0, description="First shape.")
    b: f.Positive = Field(default=1.0, description="Second shape.")


class QBetaParameter(BetaParameter):
    """A multiple of q between 0 and 1, after Beta(a, b)."""

    distribution: Literal["q_beta"]  # type: ignore[assignment]
    q: f.Positive = Field(default=1.0, description="The step. A whole number (1, not 1.0) gives integers.")


class NestedParameter(ParameterModel):
    """A group: its parameters stand one level deeper in the run's config, too."""

    parameters: SkipValidation[dict[str, Parameter]] = Field(description="Parameters, or further groups.")


Parameter = (
    ConstantParameter
    | CategoricalParameter
    | WeightedParameter
    | IntUniformParameter
    | UniformParameter
    | QUniformParameter
    | NormalParameter
    | QNormalParameter
    | BetaParameter
    | QBetaParameter
    | NestedParameter
)
