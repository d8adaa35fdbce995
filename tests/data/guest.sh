# What `tests/guest` runs inside the booted guest, in three boots.
# One line for each thing that is tried: `ok` or `FAILED`, and what it is.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

# try NAME COMMAND…: whether it succeeds
try() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok      $name"
    else
        printf 'FAILED  %s\n%s\n' "$name" "$said" | sed '2,$s/^/        | /'
    fi
}
# becomes NAME COMMAND…: whether it succeeds within a minute
becomes() {
    local name=$1 end=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || break
        sleep 0.1
    done
    try "$name" "$@"
}
is() { [ "$1" = "$2" ] || { echo "$1 is not $2"; return 1; }; }
show() { systemctl show --property "$2" --value "$1"; }
active() { systemctl --quiet is-active "$@"; }
logged() { journalctl --no-pager -u "$1" | grep -q "$2"; }
proc() { awk -v name="$1:" '$1 == name {print $2}' "$2"; }
# Messages of gRPC in hex: hex TEXT, number FIELD VALUE, field FIELD HEX.
hex() { printf %s "$1" | od -An -tx1 | tr -d ' \n'; }
varint() {
    local value=$1
    while [ "$value" -gt 127 ]; do
        printf %02x $((value & 127 | 128))
        value=$((value >> 7))
    done
    printf %02x "$value"
}
number() { printf %02x%s $(($1 << 3)) "$(varint "$2")"; }
field() { printf %02x%s%s $(($1 << 3 | 2)) "$(varint $((${#2} / 2)))" "$2"; }
# grpc METHOD HEX: calls the daemon's socket
grpc() {
    # shellcheck disable=SC2059 # the format is made of the bytes
    printf "$(printf 00%08x%s $((${#2} / 2)) "$2" | sed 's/../\\x&/g')" |
        curl -s --http2-prior-knowledge --unix-socket /run/lighterman/lighterman.sock -D /run/head -o /run/body \
            -H 'content-type: application/grpc' -H 'te: trailers' -H 'containerd-namespace: default' \
            --data-binary @- "http://localhost/$1"
    grep -qi '^grpc-status: 0' /run/head || { cat /run/head; return 1; }
}
main_pid() { show lighterman.service MainPID; }
quit() {
    journalctl --no-pager -u lighterman -u containerd >/share/journal 2>&1
    echo "end of $1"
    exit 0
}
# What doctor finds, without what is said of this machine's disks.
findings() {
    lighterman doctor --json 2>/dev/null |
        sed -n -e 's/^ *"id": "\(.*\)",$/\1:/p' -e 's/^ *"severity": "\(.*\)",$/\1 /p' | tr -d '\n' |
        sed -E 's/(disk-full|inodes-used-up):[a-z]+ //g'
}
# helps ID: what doctor says of it mends it
helps() {
    local fix
    fix=$(lighterman doctor --json 2>/dev/null | sed -n "/\"id\": \"$1\"/,/}/s/^ *\"fix\": \"run: \(.*\)\"\$/\1/p")
    try "$1 has a remedy" sh -c "$fix"
    becomes "$1 is mended by it" sh -c "! lighterman doctor --json 2>/dev/null | grep -q '\"id\": \"$1\"'"
}
# The unit with another program in the place of the daemon: what that may do, the daemon may.
in_sandbox() {
    sed -e 's/^Type=.*/Type=oneshot/' -e "s|^ExecStart=.*|ExecStart=$1|" \
        -e '/^\(Sockets\|Restart\|RestartSec\|WatchdogSec\|NotifyAccess\|ExecReload\|WantedBy\)=/d' \
        -e "s|^\[Install\]||" /usr/lib/systemd/system/lighterman.service >/run/systemd/system/sandboxed.service
    mkdir -p /run/systemd/system/sandboxed.service.d
    printf '[Service]\nStandardOutput=file:%s\n' "$2" >/run/systemd/system/sandboxed.service.d/out.conf
    systemctl daemon-reload
    systemctl start sandboxed.service
}

part_install() {
    try "the package installs" dpkg --install /share/lighterman.deb
    for unit in lighterman.socket lighterman-mirror.socket lighterman.service; do
        try "$unit is enabled" systemctl --quiet is-enabled "$unit"
        try "$unit runs" active "$unit"
    done
    try "the group is there" getent group lighterman
    try "the socket is root's and the group's" is "$(stat -c '%a %U %G' /run/lighterman/lighterman.sock)" "660 root lighterman"
    try "the folder of blobs is root's alone" is "$(stat -c '%a %U' /var/lib/lighterman)" "700 root"
    try "systemd holds the mirror's port" grep -q 127.0.0.1:335 <(ss -ltn)
    try "the daemon said that it is ready" is "$(show lighterman.service StatusText)" serving
    try "man page and completions" test -e /usr/share/man/man1/lighterman.1.gz -a -e /usr/share/bash-completion/completions/lighterman
    try "the configuration has no mistakes" dpkg --verify lighterman
}

part_booted() {
    try "everything runs after a boot" active lighterman.socket lighterman-mirror.socket lighterman.service
    try "kubelet found its image service running" is "$(cat /run/kubelet-saw)" active
    try "nothing failed" is "$(systemctl list-units --failed --no-legend 'lighterman*')" ""

    # Sockets.
    local before
    systemctl stop lighterman.service 2>/dev/null
    try "a call starts the daemon" lighterman pulls
    try "the daemon runs again" active lighterman.service
    (for _ in $(seq 30); do lighterman pulls || echo lost; done) >/run/calls 2>&1 &
    before=$(main_pid)
    systemctl restart lighterman.service
    wait $!
    try "no call is lost in a restart" is "$(grep -c -e lost -e error /run/calls)" 0
    try "it was restarted" test "$(main_pid)" != "$before"

    # Reload.
    before=$(main_pid)
    sed -i 's/^# *log-level = .*/log-level = "info"/' /etc/lighterman/config.toml
    systemctl restart lighterman.service
    before=$(main_pid)
    sed -i 's/^# *max-concurrent-downloads = .*/max-concurrent-downloads = 3/' /etc/lighterman/config.toml
    try "systemctl reload works" systemctl reload lighterman.service
    becomes "the configuration was read again" logged lighterman "was read again"
    try "it is the same process" is "$(main_pid)" "$before"
    try "it is ready again" is "$(show lighterman.service ActiveState)" active

    # Watchdog.
    mkdir -p /run/systemd/system/lighterman.service.d
    printf '[Service]\nWatchdogSec=2s\n' >/run/systemd/system/lighterman.service.d/watch.conf
    systemctl daemon-reload
    systemctl restart lighterman.service
    before=$(main_pid)
    sleep 5
    try "the watchdog is kept quiet" is "$(main_pid)" "$before"
    kill -STOP "$before"
    becomes "a daemon that hangs is started anew" sh -c "pid=\$(systemctl show -p MainPID --value lighterman); [ \$pid != 0 ] && [ \$pid != $before ] && systemctl -q is-active lighterman"
    try "by the watchdog" logged lighterman "[Ww]atchdog"
    rm -r /run/systemd/system/lighterman.service.d
    systemctl daemon-reload

    # Sandbox.
    local unit=/usr/lib/systemd/system/lighterman.service
    try "it may do little enough" systemd-analyze security --no-pager --offline=yes --threshold=40 $unit
    systemd-analyze security --no-pager --offline=yes $unit | tail -n 1
    systemctl restart lighterman.service
    try "only its own state and containerd's root are writable" \
        is "$(awk '$5 ~ "^/var/lib" && $6 ~ /^rw/ {print $5}' "/proc/$(main_pid)/mountinfo" | sort | tr '\n' ' ')" \
        "/var/lib/containerd /var/lib/lighterman "
    lighterman host --json >/run/outside
    in_sandbox "/usr/bin/lighterman host --json" /run/inside
    try "lighterman host says the same inside" cmp /run/outside /run/inside
    try "32-bit programs are known there" grep -q '"386"' /run/inside
    in_sandbox "/share/emulator /share/busybox echo translated" /run/emulated
    try "an emulator works there" is "$(cat /run/emulated)" translated

    # What the kernel says of the process itself.
    local status
    status=/proc/$(main_pid)/status
    # chown, dac_override, dac_read_search, fowner, fsetid, sys_admin, mknod and setfcap.
    try "it can never have more capabilities" is "$(proc CapBnd "$status")" 000000008820001f
    try "nor has it more" is "$(proc CapEff "$status")" 000000008820001f
    try "it gains no privileges" is "$(proc NoNewPrivs "$status")" 1
    try "its system calls are filtered" test "$(proc Seccomp "$status")" = 2 -a \
        "$(proc Seccomp_filters "$status")" -gt "$(proc Seccomp_filters /proc/1/status)"
    try "its memory is bounded" is "$(show lighterman.service MemoryMax)" 1073741824
    try "and the number of its threads" is "$(show lighterman.service TasksMax)" 2048

    # A pull by the daemon, of files that only root can make.
    /share/docker-registry serve /share/registry.yml >/dev/null 2>&1 &
    becomes "there is a registry" curl -sf http://127.0.0.1:5000/v2/
    try "the daemon pulls" lighterman pull --json --address /run/lighterman/lighterman.sock 127.0.0.1:5000/odd:1
    lighterman pull --json --address /run/lighterman/lighterman.sock -n linked 127.0.0.1:5000/odd:1 >/run/pulled
    try "blobs were linked, not copied" grep -q '"contentWritten":0' <(tr -d ' \n' </run/pulled)
    mkdir -p /mnt/image
    try "containerd has the image" ctr images mount 127.0.0.1:5000/odd:1 /mnt/image
    try "setuid is kept" is "$(stat -c %a /mnt/image/bin/suid)" 4755
    try "capabilities are kept" is "$(getcap /mnt/image/bin/capable)" "/mnt/image/bin/capable cap_net_raw=ep"
    try "hard links are kept" is "$(stat -c %h /mnt/image/bin/suid)" 2
    try "character devices are kept" is "$(stat -c '%F %t %T' /mnt/image/dev/null)" "character special file 1 3"
    try "block devices are kept" is "$(stat -c '%F %t %T' /mnt/image/dev/sda)" "block special file 8 0"
    try "pipes are kept" test -p /mnt/image/dev/pipe
    try "what a layer hides is hidden" is "$(ls /mnt/image /mnt/image/gone | tr '\n' ' ')" "/mnt/image: bin dev gone  /mnt/image/gone: new "
    ctr images unmount /mnt/image >/dev/null 2>&1

    # One thing at each of the other doors. 127.0.0.1:5000/odd:1 is what kubelet would ask for.
    local image layer digest snapshot apply
    image=$(field 1 "$(field 1 "$(hex 127.0.0.1:5000/odd:1)")")
    try "CRI pulls" grpc runtime.v1.ImageService/PullImage "$image"
    try "for kubelet" grep -qx 127.0.0.1:5000/odd:1 <(ctr -n k8s.io images ls -q)
    try "CRI passes on what is not ours" grpc runtime.v1.ImageService/ImageFsInfo ""
    layer=$(curl -sf -H 'accept: application/vnd.oci.image.manifest.v1+json' http://127.0.0.1:5000/v2/odd/manifests/1 |
        grep -o 'tar+gzip", "digest": "sha256:[0-9a-f]*", "size": [0-9]*' | head -n 1)
    digest=$(grep -o 'sha256:[0-9a-f]*' <<<"$layer")
    snapshot=$(ctr snapshots prepare --mounts by-hand "" | sed -n 's/.*"Source": "\(.*\)",*/\1/p')
    apply=$(field 1 "$(field 1 "$(hex "application/vnd.oci.image.layer.v1.tar+gzip")")$(field 2 "$(hex "$digest")")$(number 3 "${layer##* }")")
    apply=$apply$(field 2 "$(field 1 "$(hex bind)")$(field 2 "$(hex "$snapshot")")")
    try "the differ fills a snapshot" grpc containerd.services.diff.v1.Diff/Apply "$apply"
    try "with what is in the layer" is "$(stat -c %a "$snapshot/bin/suid")" 4755
    sed -i 's/^#allow = .*/allow = ["127.0.0.1:5000"]/' /etc/lighterman/config.toml
    systemctl reload lighterman.service
    becomes "the mirror serves a manifest" \
        curl -sf 'http://127.0.0.1:335/v2/odd/manifests/1?ns=127.0.0.1:5000' -o /run/manifest
    curl -sf "http://127.0.0.1:335/v2/odd/blobs/$digest?ns=127.0.0.1:5000" -o /run/layer
    try "and a layer" is "sha256:$(sha256sum /run/layer | cut -d ' ' -f 1)" "$digest"
    kill %1 2>/dev/null

    # containerd away and back.
    systemctl stop containerd.service
    systemctl restart lighterman.service
    try "it starts without containerd" active lighterman.service
    systemctl start containerd.service
    try "and finds it later" lighterman pulls

    # Doctor, of one thing after the other that is wrong.
    try "doctor finds what is not connected" is "$(findings)" "containerd-hosts:note containerd-config-path:note "
    systemctl stop containerd.service
    try "doctor finds a containerd that is down" is "$(findings)" "containerd-unreachable:error containerd-hosts:note containerd-config-path:note "
    helps containerd-unreachable
    kill -STOP "$(main_pid)"
    try "doctor finds a daemon that hangs" is "$(findings | cut -d ' ' -f 1)" daemon-silent:error
    kill -CONT "$(main_pid)"
    systemctl stop lighterman.socket lighterman-mirror.socket lighterman.service
    try "doctor finds a daemon that is down" is "$(findings | cut -d ' ' -f 1-2)" "daemon-down:error containerd-hosts:note"
    helps daemon-down
    helps mirror-down
    rm /run/lighterman/lighterman.sock
    try "doctor finds a socket that is missing" is "$(findings | cut -d ' ' -f 1-2)" "daemon-socket-missing:error containerd-hosts:note"
    helps daemon-socket-missing
    chmod 666 /run/lighterman/lighterman.sock
    try "doctor finds a socket for everybody" is "$(findings | cut -d ' ' -f 1)" daemon-socket-open:error
    systemctl stop lighterman.socket lighterman.service
    systemctl start lighterman.socket lighterman.service
    try "and what is connected again" is "$(findings)" "containerd-hosts:note containerd-config-path:note "

    # Setup.
    cp -a /etc/containerd /run/containerd-before
    try "setup connects containerd" lighterman setup
    try "hosts.toml leads to the mirror" grep -q 127.0.0.1:335 /etc/containerd/certs.d/_default/hosts.toml
    try "containerd takes the configuration" systemctl restart containerd.service
    becomes "containerd's CRI reads it" logged containerd 'ConfigPath:/etc/containerd/certs.d'
    try "doctor finds nothing then" is "$(findings)" ""
    cp -a /etc/containerd/config.toml /run/config.toml
    sed -i '/config_path/d' /etc/containerd/config.toml
    try "doctor sees a hosts.toml that nobody reads" is "$(findings)" "containerd-config-path:warning "
    mv /run/config.toml /etc/containerd/config.toml
    try "setup is taken back" lighterman setup --undo
    try "to the last byte" diff -r /run/containerd-before /etc/containerd
}

part_leave() {
    local before
    # What an administrator disabled.
    systemctl disable --quiet --now lighterman-mirror.socket
    systemctl restart lighterman.service
    try "a disabled socket does not come with the service" is "$(systemctl is-active lighterman-mirror.socket)" inactive
    try "the other one is used" grep -q '/run/lighterman/lighterman.sock' <(ss -lx)
    lighterman setup >/dev/null
    touch /var/lib/lighterman/staged
    before=$(main_pid)
    try "an upgrade installs" dpkg --install /share/lighterman.deb
    try "an upgrade starts the new program" test "$(main_pid)" != "$before" -a "$(main_pid)" != 0
    try "what was disabled stays so" is "$(systemctl is-enabled lighterman-mirror.socket)" disabled
    try "and does not run" is "$(systemctl is-active lighterman-mirror.socket)" inactive
    try "what setup did stays" test -e /etc/containerd/certs.d/_default/hosts.toml -a -e /var/lib/lighterman/setup.json
    systemctl disable --quiet --now lighterman.service
    dpkg --install /share/lighterman.deb >/dev/null
    try "a disabled service is not started by an upgrade" is "$(systemctl is-active lighterman.service)" inactive
    systemctl enable --quiet --now lighterman.service

    # Removed, and installed again.
    try "it is removed" sh -c 'dpkg --remove lighterman >/run/removal 2>&1'
    try "nothing of it runs" is "$(systemctl list-units --no-legend --state=active 'lighterman*')" ""
    try "setup is taken back" test ! -e /etc/containerd/certs.d
    try "what has to be restarted is said" grep -q 'systemctl restart containerd' /run/removal
    try "the configuration stays" test -e /etc/lighterman/config.toml
    try "what was staged stays" test -e /var/lib/lighterman/staged
    try "systemd misses nothing" is "$(systemctl list-units --failed --no-legend 'lighterman*')" ""
    try "it is installed again" dpkg --install /share/lighterman.deb
    try "what was enabled is enabled" systemctl --quiet is-enabled lighterman.socket lighterman.service
    try "and runs" active lighterman.socket lighterman.service
    try "what was disabled is disabled" is "$(systemctl is-enabled lighterman-mirror.socket)" disabled
    systemctl mask --quiet --now lighterman-mirror.socket
    dpkg --remove lighterman >/dev/null
    dpkg --install /share/lighterman.deb >/dev/null
    try "what an administrator masked is masked" is "$(systemctl is-enabled lighterman-mirror.socket)" masked
    systemctl unmask --quiet lighterman-mirror.socket

    # Purged while a file still leads to it.
    lighterman setup >/dev/null
    echo '# mine' >>/etc/containerd/certs.d/_default/hosts.toml
    try "it is purged" sh -c 'dpkg --purge lighterman >/run/purge 2>&1'
    try "what a person wrote is left" grep -q mine /etc/containerd/certs.d/_default/hosts.toml
    try "and what was there before" is "$(ls /var/lib/lighterman)" setup.json
    try "which is said" grep -q '^  /etc/containerd/certs.d/_default/hosts.toml$' /run/purge
    rm -r /var/lib/lighterman /etc/containerd/certs.d
    try "it is installed once more" dpkg --install /share/lighterman.deb
    for unit in lighterman.socket lighterman-mirror.socket lighterman.service; do
        try "after a purge, $unit is enabled and runs" sh -c "systemctl -q is-enabled $unit && systemctl -q is-active $unit"
    done
    lighterman setup >/dev/null
    try "it is purged again" dpkg --purge lighterman
    try "nothing is left" is "$(find /etc /opt /var/lib /run /usr -xdev -path /var/lib/containerd -prune -o -name '*lighterman*' -print)" ""
    try "not even the group" sh -c '! getent group lighterman'
    try "systemd misses nothing" is "$(systemctl list-units --failed --no-legend 'lighterman*')" ""
}

part=$(cat /share/part)
"part_$part"
quit "$part"
