#!/bin/sh
# The GPUs of this machine in the words of Spark's resource discovery, for
# spark.worker.resource.gpu.discoveryScript (standalone) or spark.executor.resource.gpu.discoveryScript:
#   {"name": "gpu", "addresses": ["0", "1"]}
# Numbers in the order of the PCI bus; the entries of CUDA_VISIBLE_DEVICES where the site has set it;
# UUIDs of the slices where GPUs are divided (MIG). No GPU is an empty list and a line of explanation.
set -eu

print_addresses() {
    list=
    for address in $1; do list="${list:+$list, }\"$address\""; done
    echo "{\"name\": \"gpu\", \"addresses\": [$list]}"
}

if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    print_addresses "$(echo "$CUDA_VISIBLE_DEVICES" | tr ',' ' ')"
    exit 0
fi
if ! command -v nvidia-smi >/dev/null 2>&1; then
    echo "no GPU: nvidia-smi is not on PATH; install NVIDIA's driver, or set spark.gpus to 0" >&2
    print_addresses ""
    exit 0
fi
if ! listed=$(nvidia-smi -L 2>&1); then
    echo "no GPU: nvidia-smi failed: $listed" >&2
    print_addresses ""
    exit 0
fi
found=$(echo "$listed" | sed -n 's/.*(UUID: \(MIG-[^)]*\)).*/\1/p')
if [ -z "$found" ]; then
    found=$(echo "$listed" | sed -n 's/^GPU \([0-9][0-9]*\):.*/\1/p')
fi
if [ -z "$found" ]; then
    echo "no GPU: nvidia-smi lists none" >&2
fi
print_addresses "$found"
