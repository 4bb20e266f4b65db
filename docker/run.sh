#!/usr/bin/env bash
# Run fastnas in the container image that fits this machine:
#
#   docker/run.sh --build                               build that image
#   docker/run.sh COMMAND [ARGUMENT]...                 such as: docker/run.sh camera artifacts/arch0
#   docker/run.sh --data FOLDER COMMAND [ARGUMENT]...   a folder to read from as well; may be repeated
#   docker/run.sh --image NAME COMMAND [ARGUMENT]...    another image, which must be made for this machine too
#
# The current folder is the one that the container writes to, under the same path, so artifacts/ and reports are where
# they would be without a container. Built engines stay in ~/.cache/fastnas.
set -euo pipefail

root=${FASTNAS_ROOT:-} # stands for / in the tests
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    echo "docker/run.sh: $*" >&2
    exit 1
}

# Which machine: one image serves all releases that can share its CUDA and TensorRT.
release=$root/etc/nv_tegra_release
l4t=
if [[ -e $release ]]; then
    l4t=$(sed -nE 's/^# R([0-9]+) \(release\), REVISION: ([0-9.]+).*/\1.\2/p' "$release")
    [[ -n $l4t ]] || fail "$release does not say which L4T release this is"
fi
case $l4t in
    "") board=host ;;
    32.7 | 32.7.*) board=tx2 ;;
    35.*) board=xavier ;;
    36.[4-9] | 36.[4-9].*) board=orin ;;
    39.*) board=jetpack7 ;;
    *) fail "no image for L4T $l4t, only for 32.7 (JetPack 4.6.1 to 4.6.6), 35 (JetPack 5), 36.4 or later" \
        "(JetPack 6.1, 6.2) and 39 (JetPack 7.2); without a container: pip install ./jetson" ;;
esac
machine=${l4t:+L4T $l4t}

image=fastnas:$board
build=false
options=()
while [[ ${1:-} == --* ]]; do
    case $1 in
        --build) build=true ;;
        --image) image=${2:?--image needs a name} && shift ;;
        --data)
            folder=$(cd "${2:?--data needs a folder}" && pwd) || fail "there is no folder $2"
            options+=(--volume "$folder:$folder:ro") && shift
            ;;
        *) fail "no option $1; only --build, --image NAME and --data FOLDER come before the command" ;;
    esac
    shift
done

command -v docker >/dev/null || fail "docker is not installed; run: sudo apt-get install docker.io"
socket=$root/var/run/docker.sock
[[ ! -S $socket || -w $socket ]] ||
    fail "you may not use docker; run: sudo usermod -aG docker $(id -un), and log in again"
if $build; then
    exec docker build --network host --tag "$image" --file "$here/docker/$board.Dockerfile" "$here"
fi
(($#)) || fail "which command? docker/run.sh doctor is a good first one"
made_for=$(docker image inspect --format '{{ index .Config.Labels "fastnas.board" }}' "$image") ||
    fail "there is no image $image; build the one for this machine with docker/run.sh --build"
[[ $made_for == "$board" ]] ||
    fail "$image is made for ${made_for:-something else}, and this machine (${machine:-no Jetson}) needs fastnas:$board"

cache=${FASTNAS_CACHE:-$HOME/.cache/fastnas}
mkdir -p "$cache" # before Docker does, as root
options+=(
    --rm --init --network host --security-opt no-new-privileges
    --user "$(id -u):$(id -g)" --env "USER=$(id -un)" --env HOME=/tmp
    --volume "$PWD:$PWD" --workdir "$PWD"
    --volume "$cache:/cache" --env FASTNAS_CACHE=/cache --env XDG_CACHE_HOME=/cache
)
[[ ! -t 0 || ! -t 1 ]] || options+=(--interactive --tty)
# The health check asks for the live page, at $FASTNAS_PAGE where its port is not the default.
if [[ $1 == camera ]]; then options+=(--env FASTNAS_PAGE); else options+=(--no-healthcheck); fi

if [[ $board == host ]]; then
    options+=(--shm-size 8g) # data loaders and Ray pass tensors through it
    if command -v nvidia-smi >/dev/null; then options+=(--gpus all); fi
else
    options+=(--runtime nvidia --volume "$release:/etc/nv_tegra_release:ro")
    # What a container cannot see of the board, and a report must say.
    for path in /etc/nvpmodel.conf /var/lib/nvpmodel; do
        [[ ! -e $root$path ]] || options+=(--volume "$root$path:$path:ro")
    done
    if [[ -e $root/proc/device-tree/model ]]; then
        options+=(--env "FASTNAS_MODULE=$(tr -d '\0' <"$root/proc/device-tree/model")")
    fi
    # The socket of the CSI cameras' daemon, through its folder: the daemon makes a new one when it restarts. A link in the
    # image leads there.
    options+=(--volume "$root/tmp:/host/tmp:ro")
fi
groups=()
for device in "$root"/dev/video*; do
    [[ ! -e $device ]] || options+=(--device "$device:${device#"$root"}")
done
# Cameras and the GPU's nodes belong to groups whose numbers differ between boards.
for device in "$root"/dev/{video*,nvmap,nvhost*,nvgpu/*/*,dri/render*}; do
    [[ ! -e $device ]] || groups+=("$(stat -c %g "$device")")
done
if ((${#groups[@]})); then
    for group in $(printf '%s\n' "${groups[@]}" | sort -un); do options+=(--group-add "$group"); done
fi

exec docker run "${options[@]}" "$image" "$@"
