"""The versions of MESS as combinations of settings, and ours.

Where a version has no rule for constant references but is not named after having none (v2, v2q, v2qq), it gets `zero`,
which changes nothing for any other reference.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Settings:
    """Everything that `share` can be told; a bits of 32 is float32."""

    match: str = "l1"
    scale: bool = True
    offset: bool = True
    wbits: int = 32
    abits: int = 32
    bbits: int = 32
    eps: str = "none"
    fixed: bool = False
    windows: bool = True
    length: int = 8
    stride: int = 1
    reference: int = 0
    bind: int = 1
    transforms: str = "none"
    shapes: int = 0
    normalized: bool = False
    grid: str = "source"
    calibrate: bool = False
    every: int = 0
    warmup: int = 0


_V2 = Settings()
_V2QQ = Settings(wbits=8, abits=8, bbits=8)

PRESETS = {
    "learned": Settings(
        match="l2", abits=4, bbits=4, eps="clamp", fixed=True, shapes=256, normalized=True, grid="best", calibrate=True
    ),
    "v1": Settings(match="distance", scale=False, offset=False),
    "v2": _V2,
    "v2a": replace(_V2, reference=1, eps="zero"),
    "v2q": replace(_V2, wbits=8),
    "v2q-ab": replace(_V2, abits=8, bbits=8, eps="clamp"),
    "v2qq": _V2QQ,
    "v2qq-epsv1": replace(_V2QQ, eps="add"),
    "v2qq-epsv2": replace(_V2QQ, eps="zero"),
    "v2qq-epsv3": replace(_V2QQ, eps="nan1"),
    "v2f": replace(_V2QQ, eps="clamp", fixed=True),
    "v2nb": replace(_V2, offset=False, eps="zero"),
    "v2qnb": replace(_V2, offset=False, abits=8, eps="add"),
    "v2qqnb": replace(_V2, offset=False, wbits=8, abits=8, eps="add"),
    "v2.5": replace(_V2, bind=2, eps="zero"),
    "v3": replace(_V2, transforms="all", eps="zero"),
}
