# MLflow beside the default backends. In a config with this file in its _base_ list:
#   visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.mlflow_backend])
# MLflow's own default, a database in the current folder (view it with `mlflow ui`), or the address of a server.
# MMEngine's default is a folder of files for each run, which MLflow refuses since version 3.
mlflow_uri = '{{$MLFLOW_TRACKING_URI:sqlite:///mlflow.db}}'
mlflow_experiment = 'samplug'

mlflow_backend = dict(type='MLflowVisBackend', tracking_uri=mlflow_uri, exp_name=mlflow_experiment)
