"""Settings of every registered step that the tests of steps draw from, small enough for the digits; one line a step.

The first of a step is the one on which the contract of tests/steps/test_steps.py is checked.
"""

EXAMPLES = {
    "cluster": ("cluster=4", "cluster=16,shared=true", "cluster=8,linear=3,start=density"),
    "code": ("code=range", "code=huffman", "code=packed"),
    "equalize": ("equalize=2",),
    "prune": ("prune=0.5", "prune=0", "prune=0.9"),
    "prune-channels": ("prune-channels=0.5", "prune-channels=0.3"),
    "prune-gradually": ("prune-gradually=0.5,epochs=2",),
    "prune-nm": ("prune-nm=2:4", "prune-nm=1:3"),
    "prune-rounds": ("prune-rounds=0.3,rounds=2,epochs=1,drop=100",),
    "quant": (
        "quant=w4a8",
        "quant=w8",
        "quant=w2a4",
        "quant=a6",
        "quant=w4a8,bits=auto",
        "quant=w3a8,per=7,affine=true",
    ),
    "quant-001": ("quant-001=4", "quant-001=8,grid=affine,all=true"),
    "quant-002": ("quant-002=w8a8", "quant-002=w4"),
    "share": ("share=learned,shapes=8", "share=v2qq,eps=clamp", "share=v2nb", "share=v3,abits=8,every=1"),
    "tune": ("tune=1,share=0.05", "tune=2,share=0.05,lr=0.2", "tune=2,share=0.05,teacher=parent"),
}
