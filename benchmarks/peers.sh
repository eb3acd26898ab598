#!/bin/sh
# peers.sh FOLDER: one virtual environment a peer, with the versions that the results name. Then: run.py --peers FOLDER
set -eu
folder=${1:?usage: peers.sh FOLDER}
mkdir -p "$folder"
make() {
    name=$1
    shift
    python3 -m venv "$folder/$name"
    "$folder/$name/bin/pip" -q install "$@"
}
make optuna optuna==5.0.0
make wandb wandb==0.31.0
make ray 'ray[tune]==2.60.0'
