#!/bin/sh
# Make what keras_mscam-export --formats tfjs needs, in this folder: once, with network.
#
#     export/tfjs/install.sh
#
# The converter pins an old TensorFlow, JAX and more, through imports that it does not need
# here. It is installed without them, where only it is looked for, and runs on this
# environment's TensorFlow; convert.py stands in for what it imports in vain.
set -eu
cd "$(dirname "$0")"
rm -rf environment
python -m pip install --quiet --disable-pip-version-check --no-deps --target environment \
    --requirement requirements.txt
npm ci --no-audit --no-fund --silent
echo "Ready:"
echo "  export KERAS_MSCAM_TFJS='$(pwd)'"
echo "  keras_mscam-export RUN --output DIR --formats tfjs"
