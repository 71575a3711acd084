# Weights & Biases beside the default backends. In a config with this file in its _base_ list:
#   visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.wandb_backend])
wandb_project = 'samplug'
# 'offline' keeps the run in its log folder, to be sent later by `wandb sync`.
wandb_mode = 'online'

wandb_backend = dict(
    type='WandbVisBackend',
    init_kwargs=dict(project=wandb_project, mode=wandb_mode),
    # W&B's own step counts calls; validation has the iteration of the training record before it.
    define_metric_cfg=[dict(name='*', step_metric='iter')])
