package elements

import (
	"strings"
	"testing"
)

// lvmWorld is a machine for growvols: a disk sda with a volume group, as its
// tools tell of it. The number of free extents grows when the group does.
func lvmWorld(t *testing.T, last, table string) *world {
	w := newWorld(t, "growvols")
	w.write(map[string]string{"free": "5\n"})
	w.stub("echo /dev/mapper/vg-root", "findmnt")
	w.stub(`case "$*" in
    "--inverse --noheadings --raw --output KNAME,TYPE /dev/mapper/vg-root") printf 'dm-0 lvm\nsda2 part\nsda disk\n' ;;
    "--noheadings --raw --output KNAME,TYPE,START /dev/sda")
        printf 'sda disk \nsda2 part 2048\nsda1 part 34\n'
        if [ `+last+` = sda3 ]; then echo 'sda3 part 900000'; fi
        if [ -e /added ]; then echo 'sda4 part 2000000'; fi ;;
    "--noheadings --raw --output KNAME /dev/sda") printf 'sda\nsda1\nsda2\nsda3\n' ;;
    "--nodeps --noheadings --output PTTYPE /dev/sda") echo `+table+` ;;
    "--nodeps --noheadings --output MOUNTPOINT /dev/vg/"*) case "$5" in */root) echo / ;; */var) echo /var ;; */data) echo ;; esac ;;
    "--nodeps --noheadings --output LABEL /dev/vg/"*) case "$5" in */var) echo fs_var ;; *) echo ;; esac ;;
    "--nodeps --noheadings --output FSTYPE /dev/vg/"*) case "$5" in */var) echo ext4 ;; *) echo xfs ;; esac ;;
    *) echo "lsblk $*: not expected" >&2; exit 1 ;;
esac`, "lsblk")
	w.stub(`case "$*" in
    "--noheadings --options vg_name") cat /groups ;;
    "--noheadings --options vg_free_count vg") echo "  $(cat /free) " ;;
    *extent_size*) echo "  4194304" ;;
esac`, "vgs")
	w.write(map[string]string{"groups": "  vg\n"})
	w.stub("printf '  /dev/vg/root\n  /dev/vg/var\n  /dev/vg/data\n'", "lvs")
	w.stub("echo /dev/sda2", "pvs")
	w.stub("echo $((5 + $(cat /grown))) > /free", "pvresize", "vgextend")
	w.stub("exit $(cat /growpart)", "growpart")
	w.stub(`case "$*" in *--list-free*) printf 'Start End Sectors Size\n1 2 2 1024\n2000000 9999999 8000000 4096000000\n' ;; *--append*) cat > /added ;; esac`, "sfdisk")
	w.stub("", "lvextend", "xfs_growfs", "resize2fs", "partx", "udevadm", "pvcreate")
	w.write(map[string]string{"growpart": "0\n", "grown": "100\n", "stubs/cat": "#!/bin/sh\ncase \"$1\" in /sys/class/block/*) echo 2 ;; *) exec /usr/bin/cat \"$@\" ;; esac\n"})
	return w
}

// deeds are the calls that change something.
func deeds(calls string) string {
	var kept []string
	for line := range strings.Lines(calls) {
		switch word, _, _ := strings.Cut(line, " "); word {
		case "lsblk", "vgs", "lvs", "pvs", "findmnt", "udevadm", "partx":
		default:
			if !strings.Contains(line, "--list-free") {
				kept = append(kept, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(kept, "\n")
}

func TestGrowvols(t *testing.T) {
	t.Parallel()
	const script = "static/usr/local/sbin/growvols"
	const grown = "growpart /dev/sda 2\npvresize /dev/sda2\n"
	for _, c := range []struct{ args, want, says string }{
		{"", grown + "lvextend --extents +100 /dev/vg/root\nxfs_growfs /", ""},
		{"/var=40% --group vg --device sda", grown + "lvextend --extents +40 /dev/vg/var\nresize2fs /dev/vg/var\nlvextend --extents +60 /dev/vg/root\nxfs_growfs /", ""},
		{"fs_var=40MiB data=41MB", grown + "lvextend --extents +10 /dev/vg/var\nresize2fs /dev/vg/var\nlvextend --extents +9 /dev/vg/data\n" +
			"lvextend --extents +81 /dev/vg/root\nxfs_growfs /", "/dev/vg/data is not mounted"},
		{"/var=1GiB --device=/dev/sda /=10%", grown + "lvextend --extents +100 /dev/vg/var\nresize2fs /dev/vg/var", "only 419430400 bytes are left"},
		// Percentages are of all new space, not of what is left.
		{"/var=50% data=50%", grown + "lvextend --extents +50 /dev/vg/var\nresize2fs /dev/vg/var\nlvextend --extents +50 /dev/vg/data", "not mounted"},
		{"/var=100%", grown + "lvextend --extents +100 /dev/vg/var\nresize2fs /dev/vg/var", ""},
	} {
		w := lvmWorld(t, "sda2", "gpt")
		out := w.must(nil, script, strings.Fields(c.args)...)
		if got := deeds(w.calls()); got != c.want || !strings.Contains(out, c.says) {
			t.Errorf("growvols %s:\n%s\nwant\n%s\nsays %s", c.args, got, c.want, out)
		}
	}
	// Nothing new: free extents of before are left alone, whatever is asked for.
	w := lvmWorld(t, "sda2", "gpt")
	w.write(map[string]string{"growpart": "1\n", "grown": "0\n"})
	if out := w.must(nil, script, "/var=80%"); !strings.Contains(out, "no new space") || deeds(w.calls()) != strings.TrimSpace(grown) {
		t.Errorf("says %s", out)
	}
	w.write(map[string]string{"growpart": "2\n"})
	if code, out := w.run(nil, script); code != 2 {
		t.Errorf("growpart's error is lost: %d\n%s", code, out)
	}
}

func TestGrowvolsAddsAPartition(t *testing.T) {
	t.Parallel()
	for table, kind := range map[string]string{"gpt": "E6D6D379-F507-44C2-A23C-238F2A3DF928", "dos": "8e"} {
		w := lvmWorld(t, "sda3", table)
		w.must(nil, "static/usr/local/sbin/growvols")
		want := "sfdisk --append --no-reread --force /dev/sda\npvcreate --yes /dev/sda4\nvgextend vg /dev/sda4\nlvextend --extents +100 /dev/vg/root\nxfs_growfs /"
		if table == "gpt" {
			want = "sfdisk --relocate gpt-bak-std /dev/sda\n" + want
		}
		if got := deeds(w.calls()); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", table, got, want)
		}
		w.has("added", "2000000,,"+kind+"\n")
	}
}

func TestGrowvolsRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, groups, says string }{
		{"/var=80", "vg", "is not VOLUME=AMOUNT"},
		{"/var=1TB", "vg", "is not VOLUME=AMOUNT"},
		{"=10%", "vg", "is not VOLUME=AMOUNT"},
		{"/home=10%", "vg", "no volume that is mounted there"},
		{"--grup vg", "vg", "unknown option --grup"},
		{"--group", "vg", "--group needs a value"},
		{"/=10%", "vg\nother", "2 volume groups (vg other)"},
	} {
		w := lvmWorld(t, "sda2", "gpt")
		w.write(map[string]string{"groups": c.groups + "\n"})
		w.refuses(nil, c.says, "static/usr/local/sbin/growvols", strings.Fields(c.args)...)
		if got := deeds(w.calls()); got != "" {
			t.Errorf("growvols %s changed something: %s", c.args, got)
		}
	}
}
