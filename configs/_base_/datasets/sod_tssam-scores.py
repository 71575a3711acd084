# The data and scores of sod.py, and a row of scores as TS-SAM's own code computes them: in the model's square input.
_base_ = './sod.py'

test_evaluator = [
    *_base_.test_evaluator,
    dict(type='SaliencyMetric', source='input', mode='tssam', wf_beta2=0.3, prefix='tssam', label='as TS-SAM')
]
val_evaluator = test_evaluator
