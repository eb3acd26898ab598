"""Environment variables: which are recorded with their values, and which a run needs before its interpreter starts.

Values are kept only under names that are known to matter and to be harmless; of all others the name alone is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from sweep.core.secrets import looks_secret_name
from sweep.core.spec import Determinism
from sweep.provenance.scrub import known_secrets, scrub

_WITH_VALUES = (
    # which devices, how many threads, which numerics
    *(
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "CUDA_LAUNCH_BLOCKING",
        "CUDA_MODULE_LOADING",
        "CUDA_CACHE_DISABLE",
    ),
    *("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE"),
    *(
        "OMP_*",
        "GOMP_*",
        "KMP_*",
        "MKL_*",
        "OPENBLAS_*",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_*",
    ),
    *(
        "NUMBA_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "TOKENIZERS_PARALLELISM",
        "LOKY_MAX_CPU_COUNT",
        "MALLOC_*",
        "LD_PRELOAD",
    ),
    *("CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "NCCL_*", "TORCH_NCCL_*", "GLOO_*", "UCX_TLS"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "TORCHINDUCTOR_DETERMINISTIC", "TORCHDYNAMO_DISABLE"),
    *(
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "TF_DETERMINISTIC_OPS",
        "TF_CUDNN_DETERMINISTIC",
        "TF_ENABLE_ONEDNN_OPTS",
    ),
    *(
        "TF_NUM_*_THREADS",
        "XLA_FLAGS",
        "XLA_PYTHON_CLIENT_*",
        "JAX_PLATFORMS",
        "JAX_ENABLE_X64",
        "JAX_DEFAULT_*",
    ),
    # Python
    *(
        "PYTHONHASHSEED",
        "PYTHONUNBUFFERED",
        "PYTHONOPTIMIZE",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONWARNINGS",
        "PYTHONUTF8",
    ),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONMALLOC", "PYTHONIOENCODING", "PYTHON_GIL"),
    *(
        "VIRTUAL_ENV",
        "CONDA_DEFAULT_ENV",
        "CONDA_PREFIX",
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "UV_INDEX_URL",
    ),
    *("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"),
    # the place
    *(
        "LANG",
        "LANGUAGE",
        "LC_*",
        "TZ",
        "SOURCE_DATE_EPOCH",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_DATASETS_OFFLINE",
    ),
    *("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST", "SLURM_JOB_NUM_NODES"),
    *(
        "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_PROCID",
        "SLURM_LOCALID",
        "SLURM_NODEID",
        "SLURM_NTASKS",
    ),
    *(
        "SLURM_CPUS_PER_TASK",
        "SLURM_CPUS_ON_NODE",
        "SLURM_GPUS_ON_NODE",
        "SLURM_JOB_GPUS",
        "SLURM_MEM_PER_NODE",
    ),
    *("SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "RAY_JOB_ID"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT", "OMPI_COMM_WORLD_SIZE"),
)
_EXACT = frozenset(name for name in _WITH_VALUES if "*" not in name)
_PATTERNS = tuple(name for name in _WITH_VALUES if "*" in name)

_STRICT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "NVIDIA_TF32_OVERRIDE": "0",
    "MKL_CBWR": "COMPATIBLE",
    "TF_DETERMINISTIC_OPS": "1",
    "TORCHINDUCTOR_DETERMINISTIC": "1",
    "NCCL_NVLS_ENABLE": "0",
}
"""For cuBLAS, NVIDIA's maths, MKL, TensorFlow, PyTorch's compiler and NCCL, as their documentation names them."""
_XLA_FLAG = "--xla_gpu_deterministic_ops=true"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def environ_record(environ: Mapping[str, str]) -> dict[str, Any]:
    """`{"values": {name: value}, "names": [every other name]}`, sorted. A value is kept only where its name is on the list
    of this module and does not sound secret, and then without user info, tokens and the values of secret variables."""
    known = known_secrets(environ)
    kept = {name for name in environ if has_value(name)}
    return {
        "values": {name: scrub(environ[name], known) for name in sorted(kept)},
        "names": sorted(scrub(name, known) for name in environ if name not in kept),
    }


def launcher_env(
    seed: int, cpus: float | None, environ: Mapping[str, str], level: Determinism = "seeded"
) -> dict[str, str]:
    """What a run gets set before its interpreter starts, beside what `environ` (its environment so far, the spec's `env`
    included) already has.

    At every level: unbuffered output, so that logs are live, and as many threads as the run has CPUs (at least one;
    nothing when `cpus` is None). From `seeded` on the seed of Python's string hashes. At `strict` also what libraries read
    once, when they start, to be deterministic; the number of threads, which changes the order of sums, is then 1 where
    `cpus` is None.
    """
    wanted = {"PYTHONUNBUFFERED": "1"}
    if level != "off":
        wanted["PYTHONHASHSEED"] = str(seed % 2**32)
    if level == "strict":
        wanted |= {**_STRICT, "XLA_FLAGS": _XLA_FLAG}
        cpus = 1 if cpus is None else cpus
    if cpus is not None:
        wanted |= dict.fromkeys(_THREADS, str(max(1, int(cpus))))
    return {name: value for name, value in wanted.items() if name not in environ}


def with_strict_flags(env: Mapping[str, str]) -> dict[str, str]:
    """The spec's `env` at the level `strict`. One variable holds all of XLA's flags: the spec's own stay, and since the last
    of a name wins, ours goes first."""
    flags = env.get("XLA_FLAGS")
    return {**env, "XLA_FLAGS": f"{_XLA_FLAG} {flags}"} if flags is not None else dict(env)


def has_value(name: str) -> bool:
    """Whether the value under this name is recorded."""
    listed = name in _EXACT or any(fnmatchcase(name, pattern) for pattern in _PATTERNS)
    return listed and not looks_secret_name(name)
