# The data and scores of istd.py, and a row of scores as TS-SAM's own code computes them: in the model's square input.
_base_ = './istd.py'

test_evaluator = [
    *_base_.test_evaluator,
    dict(type='BERMetric', source='input', mode='tssam', prefix='tssam', label='as TS-SAM')
]
val_evaluator = test_evaluator
