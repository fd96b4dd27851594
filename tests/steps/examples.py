"""Settings of every registered step that the tests of steps draw from, small enough for the digits; one line a step.

The first of a step is the one on which the contract of tests/steps/test_steps.py is checked.
"""

EXAMPLES = {
    "code": ("code=range", "code=huffman", "code=packed"),
    "prune": ("prune=0.5", "prune=0", "prune=0.9"),
    "quant": ("quant=w4a8", "quant=w8", "quant=w2a4"),
    "tune": ("tune=1,share=0.05", "tune=2,share=0.05,lr=0.2", "tune=2,share=0.05,teacher=parent"),
}
