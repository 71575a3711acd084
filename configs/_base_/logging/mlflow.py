# MLflow beside the default backends. In a config with this file in its _base_ list:
#   visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.mlflow_backend])
# MLflow's own default, a database in the current folder (look at it by `mlflow ui`), or a server's address. MMEngine would
# make a folder of files of each run, which MLflow refuses since its version 3.
mlflow_uri = '{{$MLFLOW_TRACKING_URI:sqlite:///mlflow.db}}'
mlflow_experiment = 'samplug'

mlflow_backend = dict(type='MLflowVisBackend', tracking_uri=mlflow_uri, exp_name=mlflow_experiment)
