#!/usr/bin/env bash
# The demo, the doctor and the self-test on a Debian that has Python, make and nothing for windows.
#
# Needs root, mmdebstrap and Python 3.11, the version of that Debian, whose wheels are fetched outside of it.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp --directory)
root=$work/root
cleanup() {
    umount "$root/proc" "$root/dev" 2> /dev/null || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

mmdebstrap --quiet --variant=minbase --include=python3-venv,make bookworm "$root"
python3 -m pip wheel --quiet -w "$root/wheels" -c "$project/constraints.txt" "$project[headless]"
python3 -m pip wheel --quiet -w "$root/wheels" -c "$project/constraints.txt" opencv-python hatchling hatch-fancy-pypi-readme editables
rm "$root"/wheels/mmpnet-*.whl
mkdir "$root/project"
git -C "$project" ls-files -z | tar --create --directory "$project" --null --files-from - | tar --extract --directory "$root/project"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"

inside() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels \
        sh -c "cd /project && $1"
}
inside 'make demo' | tee "$work/demo"
grep --quiet 'installing mmpnet\[headless\] without windows: this machine lacks libxcb.so.1' "$work/demo"
grep --quiet '^next: ' "$work/demo"
test -s "$root/project/out/astronaut.jpg"
inside '.venv/bin/mmp-doctor --no-cameras'
inside '.venv/bin/mmp-run --self-test'
# With the other wheel every command that needs OpenCV is one line; no help needs it.
inside '.venv/bin/python -m pip uninstall --quiet --yes opencv-python-headless'
inside '.venv/bin/python -m pip install --quiet --no-deps opencv-python'
for command in run info doctor bench archive val adapt collect train export; do
    inside ".venv/bin/mmp-$command -h" > "$work/help"
    grep --quiet "Usage: mmp-$command" "$work/help"
done
for command in 'mmp-run --self-test' 'mmp-info' 'mmp-bench person-224-int8' \
    'mmp-collect docs/images/astronaut.jpg -o out/collected' 'mmp-doctor --no-cameras'; do
    if inside ".venv/bin/$command" > "$work/said" 2>&1; then
        echo "$command ended well without libxcb" >&2
        exit 1
    fi
    grep 'libxcb.so.1 is missing; apt-get install libgl1 libglib2.0-0' "$work/said"
    if grep Traceback "$work/said"; then exit 1; fi
done
