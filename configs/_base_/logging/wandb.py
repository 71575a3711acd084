# Weights & Biases beside the default backends. In a config with this file in its _base_ list:
#   visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.wandb_backend])
wandb_project = 'samplug'
# 'offline' keeps the run in its log folder; `wandb sync` uploads it later.
wandb_mode = 'online'

wandb_backend = dict(
    type='WandbVisBackend',
    init_kwargs=dict(project=wandb_project, mode=wandb_mode),
    # W&B's own step counts calls; validation gets the iteration of the last training record.
    define_metric_cfg=[dict(name='*', step_metric='iter')])
