def load_weights(*a, **k): raise NotImplementedError
def pretrained_source(m):
    return None
