package md_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/md"
)

// assembleScript is what the guest does. Every failure ends it.
func assembleScript(t *testing.T, arrays []md.Array) string {
	t.Helper()
	script := `
echo 2000000 >/proc/sys/dev/raid/speed_limit_max; echo 2000000 >/proc/sys/dev/raid/speed_limit_min
fail() { echo "WRONG: $name: $*"; cat /proc/mdstat; dmesg | tail -20; exit 1; }
idle() { until [ "$(cat $md/sync_action)" = idle ]; do usleep 100000; done; }
whole() { until [ "$(cat $md/degraded)" = 0 ]; do usleep 100000; done; idle; }
files() {
	echo 3 >/proc/sys/vm/drop_caches
	mount -t ext4 -o ro $dev /mnt || fail mount
	[ "$(cat /mnt/array)" = "$name" ] || fail "it is array $(cat /mnt/array)"
	(cd /mnt && sha256sum -c /sums >/tmp/checked 2>&1) || { grep -v ': OK' /tmp/checked; fail files; }
	umount /mnt
}
check() {
	idle; echo check >$md/sync_action; idle
	[ "$(cat $md/mismatch_cnt)" = 0 ] || fail "$(cat $md/mismatch_cnt) sectors differ"
}
try() { # name, bytes, members, resync
	name=$1; dev=$(readlink -f /dev/md/$1); md=/sys/block/${dev##*/}/md
	[ "$(cat $md/array_state)" = clean ] || [ "$(cat $md/array_state)" = active ] || [ "$4" = yes ] || fail "it is $(cat $md/array_state)"
	[ $(cat $md/../size) = $(($2 / 512)) ] || fail "size $(cat $md/../size)"
	[ "$(cat $md/raid_disks)" = $3 ] || fail members
	files
	if [ -e $md/sync_action ]; then check; lose $5; files; check; fi
	echo; echo "good $name"
}
lose() { # bitmap
	for out in $md/rd1/block; do member=/dev/$(basename $(readlink -f $out)); done
	mdadm $dev --fail $member; idle
	until mdadm $dev --remove $member 2>/dev/null; do usleep 100000; done
	files
	mount -t ext4 $dev /mnt || fail mount; echo written without a member >/mnt/later; umount /mnt
	if [ $1 = true ]; then mdadm $dev --re-add $member || fail re-add; else mdadm $dev --add $member || fail add; fi
	whole
}
members() { # array's number, members
	for disk in a b c d e; do [ $2 = 0 ] || { echo /dev/vd$disk$1; set $1 $(($2 - 1)); }; done
}
looks() { # devices: what mdadm says of them, without what differs from one creation to the next
	mdadm --examine "$@" >/tmp/looks || fail examine
	! grep -q 'Internal Bitmap' /tmp/looks || mdadm --examine-bitmap "$@" >>/tmp/looks || fail examine-bitmap
	grep -vE 'Device UUID|Time :|Checksum|Events|Events Cleared|State :|dirty' /tmp/looks | sed 's/  (local to host.*//; s/Name : any:/Name : /'
}
remake() { # number, name, members, host, options: mdadm must make the same of members like these
	name=$2; all=$(members $1 $3); n=$3; host=$4; shift 4
	mdadm --zero-superblock $all
	mdadm --create /dev/md/$name --run --quiet --assume-clean --raid-devices=$n --homehost=$host --name=$name "$@" $all || fail create
	mdadm --stop --quiet /dev/md/$name
	looks $all >/tmp/theirs
	diff /tmp/ours.$name /tmp/theirs || { echo "OTHERWISE: $name"; return 0; }
	echo; echo "same $name"
}
mdadm --examine --scan >/etc/mdadm.conf
cat /etc/mdadm.conf
BEFORE
mdadm --assemble --scan
cat /proc/mdstat
`
	var syncs int
	var before, after string
	for i, a := range arrays {
		before += fmt.Sprintf("looks $(members %d %d) >/tmp/ours.%s\n", i+1, len(a.Members), a.Name)
		if !a.AllowUnequal { // mdadm makes zones there
			after += fmt.Sprintf("remake %d %s %d %s\n", i+1, a.Name, len(a.Members), createOptions(a))
		}
		size, err := a.Size()
		if err != nil {
			t.Fatal(err)
		}
		if a.NeedsResync {
			syncs++
		}
		script += fmt.Sprintf("try %s %d %d %t %t\n", a.Name, size, len(a.Members), a.NeedsResync, a.Bitmap)
	}
	return strings.Replace(script, "BEFORE\n", before, 1) + fmt.Sprintf(`
cat /proc/mdstat
name=all; [ $(dmesg | grep -c 'md: resync of RAID array') = %d ] || fail "$(dmesg | grep 'md: resync of')"
mdadm --stop --scan
`, syncs) + after
}

// createOptions are the host, and what mdadm --create is told of the array.
func createOptions(a md.Array) string {
	o := fmt.Sprintf("%s --uuid=%s --level=%d", cmp.Or(a.HomeHost, "any"), a.UUID, a.Level)
	o += " --metadata=" + cmp.Or(a.Metadata, "1.2")
	if a.Chunk > 0 {
		o += fmt.Sprintf(" --chunk=%dK", a.Chunk>>10)
	}
	if a.Layout != "" {
		o += " --layout=" + a.Layout
	}
	if a.Bitmap {
		o += " --bitmap=internal"
	} else if a.Level > 0 {
		o += " --bitmap=none"
	}
	return o
}
