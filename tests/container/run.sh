#!/usr/bin/env bash
# Build the Dockerfile without a daemon, and run its image as it is meant to run: no rights, a read-only root.
#
# Needs root, buildah and mmdebstrap. The base image is a Debian with Python that is made here, so that no registry is
# needed; PIP_* variables of this machine are passed on.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp --directory)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
export CONTAINERS_STORAGE_CONF=$work/storage.conf
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$work" "$work" > "$work/storage.conf"
mounted=
cleanup() {
    if [ -n "$mounted" ]; then
        umount --recursive "$mounted" 2> /dev/null || true
    fi
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

mmdebstrap --quiet --variant=minbase --include=python3-venv,ca-certificates bookworm "$work/base.tar"
base=$(buildah from scratch)
buildah add --quiet "$base" "$work/base.tar" > /dev/null
rm "$work/base.tar"
if [ -f /etc/pip.conf ]; then buildah copy --quiet "$base" /etc/pip.conf /etc/pip.conf > /dev/null; fi
buildah copy --quiet "$base" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt > /dev/null
buildah commit --quiet --rm "$base" localhost/python > /dev/null

# A machine may have configured pip to look for packages in folders of its own.
volumes=()
folders=$(python3 -m pip config list | sed --quiet --regexp-extended "s/.*(find-links|index-url)='(.*)'/\2/p" |
    tr ' ' '\n' | sed --quiet --regexp-extended 's#^(file://)?(/[^/].*)#\2#p' | sed 's#/simple$##' | sort --unique)
for folder in $folders; do
    if [ -d "$folder" ]; then volumes+=(--volume "$folder:$folder:ro"); fi
done
buildah build --quiet --format docker --network host "${volumes[@]}" --build-arg BASE=localhost/python --tag localhost/mmpnet "$project"

made=$(buildah from localhost/mmpnet)
mounted=$(buildah mount "$made")
buildah inspect --type image localhost/mmpnet > "$work/image.json"
grep --quiet '"User": "65534:65534"' "$work/image.json"
grep --quiet health_check "$work/image.json"
# The root is mounted again read-only; only /data and /tmp can be written, as with --read-only --tmpfs /tmp.
mount --bind "$mounted" "$mounted"
mount -t proc proc "$mounted/proc"
mount --bind /dev "$mounted/dev"
mount -t tmpfs tmpfs "$mounted/tmp"
mount -t tmpfs -o uid=65534,gid=65534 tmpfs "$mounted/data"
cp "$project/docs/images/astronaut.jpg" "$mounted/data/in.jpg"
mount -o remount,bind,ro "$mounted"
inside() {
    chroot --userspec=65534:65534 "$mounted" env -i PATH=/opt/mmpnet/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 \
        MMPNET_SERVE=127.0.0.1:8765 MMPNET_TOKEN=secret sh -c "cd /data && $1"
}
if inside 'touch /opt/mmpnet/x' 2> /dev/null; then echo 'the root can be written' >&2; exit 1; fi
inside 'mmp-run --self-test && mmp-doctor --no-cameras'
inside 'python3 -c "import av, paho.mqtt.client, trackers"'
inside 'exec mmp-run --no-show --source in.jpg --loop --json events.ndjson' &
running=$!
for _ in $(seq 60); do
    sleep 1
    if inside 'python3 -m mmpnet.runtime.web.health_check' 2> /dev/null; then break; fi
done
inside 'python3 -m mmpnet.runtime.web.health_check'
inside 'test -s events.ndjson'
kill -TERM "$(pgrep --parent "$running")"
wait "$running" || true
if inside 'python3 -m mmpnet.runtime.web.health_check' 2> /dev/null; then echo 'healthy without a run' >&2; exit 1; fi
