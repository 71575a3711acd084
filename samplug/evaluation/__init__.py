"""Score predictions; importing this package needs neither torch nor a model (MMEngine's metrics are in ``.metrics``)."""
