custom_imports = dict(imports=['samplug'])
default_scope = 'samplug'
runner_type = 'SamplugRunner'
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    selection=dict(type='SplitLeakageHook'),
    features=dict(type='FeatureReaderHook'),
    non_finite=dict(type='NonFiniteHook'),
    unused_parameters=dict(type='UnusedParametersHook'),
    memory=dict(type='MemoryHook'),
    visualization=dict(type='OverlayHook'),
    progress=dict(type='ProgressHook'),
    record=dict(type='RunRecordHook'))
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_processor = dict(by_epoch=True)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
# If the newest checkpoint cannot be read, resume from an older checkpoint with a warning; False raises an error.
resume_fall_back = True
# Source of learning rates, schedules and optimiser settings when a run is resumed: 'checkpoint' continues unchanged,
# 'config' uses this config at the checkpoint's iteration (to train longer, or with another learning rate).
resume_schedule = 'checkpoint'
