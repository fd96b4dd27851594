"""mignon: a folder of images in; a small, verified image classifier out.

The public names, loaded on first use: `import mignon` does not import torch.
"""

import importlib
from typing import Any

from mignon.errors import DataError, FormatError, MachineError, MignonError, ModelError, RecipeError, RunError

__version__ = "0.2.0"

_LAZY = {
    "Classifier": "mignon.classifier",
    "InputSpec": "mignon.data.inputs",
    "build": "mignon.jobs.build",
    "compress": "mignon.jobs.compress",
    "demo": "mignon.jobs.demo",
    "doctor": "mignon.jobs.doctor",
    "evaluate": "mignon.jobs.evaluate",
    "load": "mignon.jobs.load",
    "ls": "mignon.jobs.runs",
    "predict": "mignon.jobs.predict",
    "probe": "mignon.jobs.probe",
    "rm": "mignon.jobs.runs",
    "show": "mignon.jobs.show",
    "train": "mignon.jobs.train",
    "tune": "mignon.jobs.tune",
}

__all__ = [
    "Classifier",
    "DataError",
    "FormatError",
    "InputSpec",
    "MachineError",
    "MignonError",
    "ModelError",
    "RecipeError",
    "RunError",
    "__version__",
    "build",
    "compress",
    "demo",
    "doctor",
    "evaluate",
    "load",
    "ls",
    "predict",
    "probe",
    "rm",
    "show",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mignon' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
