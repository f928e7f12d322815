#!/usr/bin/env bash
# The self-tests of the embedded models, an image and the doctor on 64-bit Arm, as two processors that QEMU emulates: a
# Cortex-A72 (Raspberry Pi 4) and a Cortex-A76 (Raspberry Pi 5).
#
# Needs root, mmdebstrap, arch-test, qemu-user-static with its binfmt_misc entry, and Python 3.11 or newer. Nothing is
# mounted in the Arm root and no package script runs in it; wheels are unpacked from outside.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp --directory)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

if ! [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
    [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    update-binfmts --enable qemu-aarch64
fi
mmdebstrap --quiet --arch=arm64 --variant=extract \
    --include=python3,python3-minimal,libpython3-stdlib,libstdc++6,zlib1g,bash,coreutils bookworm "$root"
mkdir -p "$root/site" "$root/sys/devices/system/cpu" "$root/proc/device-tree"

platforms=()
for glibc in 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${glibc}_aarch64"); done
platforms+=(--platform manylinux2014_aarch64)
mapfile -t requirements < <(python3 - "$project/pyproject.toml" <<'PY'
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["headless"], sep="\n")
PY
)
python3 -m pip download --quiet --disable-pip-version-check -c "$project/constraints.txt" --dest "$work/wheels" \
    "${platforms[@]}" --python-version 3.11 --only-binary=:all: "${requirements[@]}"
for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$root/site"; done
python3 -m pip wheel --quiet --disable-pip-version-check --no-deps -w "$work/own" "$project"
python3 -m zipfile -e "$work"/own/mmpnet-*.whl "$root/site"
cp "$project/docs/images/astronaut.jpg" "$root/astronaut.jpg"
cat > "$root/command.py" <<'PY'
import sys
from mmpnet.cli import entry

name = sys.argv.pop(1)
sys.argv[0] = f"mmp-{name}"
getattr(entry, name)()
PY
echo 0-1 | tee "$root/sys/devices/system/cpu/possible" > "$root/sys/devices/system/cpu/present"

# ONNX Runtime believes /proc/cpuinfo, so it has to state what QEMU emulates.
emulate() {
    processor=$1
    for number in 0 1; do
        printf 'processor\t: %s\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: %s\n\n' \
            "$number" "$2" "$3"
    done > "$root/proc/cpuinfo"
    printf 'Raspberry Pi %s Model B\0' "$4" > "$root/proc/device-tree/model"
}
arm() {
    env -i PATH=/usr/bin:/bin LANG=C.UTF-8 HOME=/root PYTHONPATH=/site QEMU_CPU="$processor" \
        /usr/sbin/chroot "$root" /usr/bin/python3.11 /command.py "$@"
}
self_tests() {
    for model in person-320 person-320-int8 person-192x320-int8 person-224-int8; do arm run "$model" --self-test; done
}

emulate cortex-a76 'fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp' \
    0xd0b 5
self_tests
emulate cortex-a72 'fp asimd evtstrm crc32 cpuid' 0xd08 4
self_tests
arm run --threads 1 --source /astronaut.jpg --save /found.jpg --no-show --json /found.ndjson
test -s "$root/found.jpg"
arm doctor --no-cameras 2>&1 | tee "$work/doctor"
grep --quiet 'Raspberry Pi 4 Model B, 2 Cortex-A72' "$work/doctor"

# The letterbox gives the bytes that it gives on this machine.
cat > "$work/pixels.py" <<'PY'
import hashlib
import numpy as np
from mmpnet.contract.letterbox import Letterbox

random, digest = np.random.default_rng(0), hashlib.sha256()
for frame_hw in ((720, 1280), (480, 640), (1080, 1920), (97, 61), (416, 312)):
    for input_hw in ((320, 320), (192, 320), (224, 224)):
        frame = random.integers(0, 256, (*frame_hw, 3), np.uint8)
        digest.update(Letterbox(input_hw).apply(frame)[0].tobytes())
print(digest.hexdigest())
PY
cp "$work/pixels.py" "$root/pixels.py"
here=$("${PYTHON:-python3}" "$work/pixels.py")
there=$(env -i PATH=/usr/bin:/bin LANG=C.UTF-8 PYTHONPATH=/site QEMU_CPU=cortex-a72 \
    /usr/sbin/chroot "$root" /usr/bin/python3.11 /pixels.py)
[ "$here" = "$there" ] || { echo "the letterbox of arm64 gives other bytes: $there, here $here" >&2; exit 1; }
