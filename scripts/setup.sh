#!/usr/bin/env bash
# Makes everything that vlagen needs: a virtual environment with pinned packages, and software Vulkan where there is no
# NVIDIA GPU. A second run does nothing in well under a second; a run after an interrupted one repairs and finishes.
#
#   PYTHON=/path/to/python3.12 scripts/setup.sh   chooses the interpreter
#   scripts/setup.sh --retry-vulkan               tries the system package again after it failed once
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STAMP=$VENV/.vlagen-setup
VULKAN_FAILED=$VENV/.vlagen-vulkan-failed
MINIMUM_MESA=24.3

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

checksum() { if has sha256sum; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }

# The folder is part of the key because a virtual environment does not survive being moved or copied.
key() { { pwd -P; cat pyproject.toml constraints.txt scripts/setup.sh; } | checksum; }

minor_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

venv_works() {
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || return 1
    [[ -z ${PYTHON:-} || $(minor_version "$PYTHON") == "$(minor_version "$VENV/bin/python")" ]]
}

# Fast on purpose: it runs before every `make test`.
is_set_up() {
    [[ -f $STAMP && $(<"$STAMP") == "$(key)" ]] || return 1
    [[ -n $(minor_version "$VENV/bin/python") ]] || return 1
    [[ -z ${PYTHON:-} || $(minor_version "$PYTHON") == "$(minor_version "$VENV/bin/python")" ]]
}

# Debian ships `venv` without `ensurepip` unless python3-venv is installed; pyenv shims exist without an interpreter.
usable() {
    [[ $("$1" -c 'import ensurepip, sys, venv; print((3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null) == True ]]
}

find_python() {
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        usable "$PYTHON" && echo "$PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3.10 python3 /usr/bin/python3; do
        if usable "$candidate"; then echo "$candidate"; return; fi
    done
    return 1
}

need_python() {
    find_python && return
    [[ -z ${PYTHON:-} ]] || fail "PYTHON=$PYTHON is not Python 3.10, 3.11 or 3.12 with the module venv"
    if has apt-get && can_be_root; then
        say "installing python3-venv" >&2
        apt update >&2 || true
        apt install python3-venv >&2 || true
        find_python && return
    fi
    fail "no Python 3.10, 3.11 or 3.12 with the module venv; install one (Debian, Ubuntu: apt-get install python3-venv)" \
        "or name it: make setup PYTHON=/path/to/python3.11"
}

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }

gpu_present() { compgen -G '/dev/nvidia[0-9]*' >/dev/null; }

# torch goes first: as a dependency it would bring several GB of CUDA packages, which no machine without a GPU needs.
install_torch() {
    local pin
    pin=$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)
    if [[ torch==$("$VENV/bin/python" -c 'import torch; print(torch.__version__.split("+")[0])' 2>/dev/null) == "$pin" ]]; then
        return
    fi
    if ! gpu_present; then
        say "installing $pin, the build without CUDA"
        pip install -qq -c constraints.txt "$pin+cpu" 2>/dev/null && return
        say "pip offers no $pin+cpu here, so the general build comes, several GB (to avoid that, let PIP_EXTRA_INDEX_URL"
        say "or PIP_FIND_LINKS name a place that has PyTorch's CPU builds, and run this again)"
    fi
    pip install -q -c constraints.txt "$pin"
}

# pip takes a package for installed when its metadata is there, whatever an interruption did to its files.
damaged_packages() {
    "$VENV/bin/python" - <<'PYTHON'
from importlib.metadata import distributions

for package in distributions():
    files = package.files
    if files is None or not all(file.locate().exists() for file in files if file.suffix != ".pyc"):
        print(f"{package.name}=={package.version}")
PYTHON
}

install_packages() {
    local damaged
    install_torch || return 1
    say "installing vlagen and its pinned dependencies"
    pip install -qq -c constraints.txt -e '.[sim,openvla,train,ray,dev]' || return 1
    mapfile -t damaged < <(damaged_packages)
    if ((${#damaged[@]})); then
        say "repairing ${damaged[*]}"
        pip install -qq --ignore-installed --no-deps "${damaged[@]}" || return 1
        [[ -z $(damaged_packages) ]] || return 1
    fi
    pip check
}

set_up_packages() {
    local python
    if ! venv_works; then
        python=$(need_python)
        say "making $VENV with $("$python" --version)"
        "$python" -m venv --clear "$VENV"
    fi
    rm -f "$STAMP"
    if ! install_packages; then
        # An interrupted pip can leave half a package that no later pip mends.
        say "installing failed; once more in a fresh $VENV"
        python=$(need_python)
        "$python" -m venv --clear "$VENV"
        install_packages || fail "the packages could not be installed; the message above says which"
    fi
    key >"$STAMP.new"
    mv "$STAMP.new" "$STAMP"
    say "$VENV is ready ($(pip list 2>/dev/null | awk '$1 ~ /^(torch|mani_skill|sapien)$/ {printf "%s %s ", $1, $2}'))"
}

can_be_root() { [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null; }
as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi; }
apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@"; }

installed_mesa() { dpkg-query --show --showformat='${Version}' mesa-vulkan-drivers 2>/dev/null; }
new_enough() { [[ $1 == [0-9]* ]] && dpkg --compare-versions "$1" ge "$MINIMUM_MESA"; }

lavapipe_works() {
    compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' >/dev/null || return 1
    # Elsewhere than on Debian only trying it out would tell, which vlagen-doctor does.
    ! has dpkg-query || [[ -z $(installed_mesa) ]] || new_enough "$(installed_mesa)"
}

candidate_mesa() { apt-cache policy mesa-vulkan-drivers | awk '$1 == "Candidate:" {print $2}'; }

install_mesa() {
    local codename backports=/etc/apt/sources.list.d/vlagen-backports.sources
    as_root dpkg --configure -a
    apt update || true # one broken source of somebody else need not stop us: the install below tells
    if new_enough "$(candidate_mesa)"; then
        apt install --no-install-recommends mesa-vulkan-drivers libvulkan1
        return
    fi
    codename=$(. /etc/os-release && echo "${ID:-}-${VERSION_CODENAME:-}")
    [[ $codename == debian-* ]] || return 1
    codename=${codename#debian-}
    if ! apt-cache policy | grep -q "n=$codename-backports,"; then
        "$VENV/bin/python" scripts/backports_source.py "$codename" | as_root tee "$backports" >/dev/null &&
            apt update -o Dir::Etc::sourcelist="$backports" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0
    fi
    if ! apt install --no-install-recommends -t "$codename-backports" mesa-vulkan-drivers libvulkan1; then
        as_root rm -f "$backports" # where it does not work it would break the machine's every later `apt-get update`
        return 1
    fi
}

set_up_vulkan() {
    local without="until then vlagen works without pictures (state mode, and the tests that need none)"
    local todo="install Mesa >= $MINIMUM_MESA with lavapipe (package mesa-vulkan-drivers, on Debian 12 from its backports)"
    if gpu_present || lavapipe_works; then return; fi
    if [[ $(uname -s) != Linux ]]; then return; fi # SAPIEN brings what it needs on macOS
    if ! has apt-get || ! can_be_root; then
        say "no software Vulkan: $todo, or run this as root; $without"
    elif [[ -f $VULKAN_FAILED ]]; then
        say "no software Vulkan, as the last try failed: scripts/setup.sh --retry-vulkan; $without"
    else
        say "installing software Vulkan (Mesa's lavapipe)"
        if install_mesa && lavapipe_works; then
            say "software Vulkan is ready: Mesa $(installed_mesa)"
        else
            touch "$VULKAN_FAILED"
            say "software Vulkan could not be installed: $todo; $without"
        fi
    fi
}

if [[ ${1:-} == --retry-vulkan ]]; then rm -f "$VULKAN_FAILED"; fi
if has flock; then
    exec 9<scripts/setup.sh
    flock --nonblock 9 || { say "waiting for another setup of this folder"; flock 9; }
fi
is_set_up || set_up_packages
set_up_vulkan
