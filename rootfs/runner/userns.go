package runner

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// idRange is one line of an id map (user_namespaces(7)): ids from Inside in
// the namespace are those from Outside in its parent.
type idRange struct{ Inside, Outside, Count uint64 }

// idsPerUser is what useradd gives a user; it covers nobody (65534).
const idsPerUser = 65536

// NoSubIDError says that a user has no subordinate ids, and what to add.
type NoSubIDError struct {
	User string
	File string // /etc/subuid or /etc/subgid
	Line string // the line to add, free of every other line's range
}

func (e *NoSubIDError) Error() string {
	return fmt.Sprintf("making a user namespace: %s has no line for user %q; as root, add the line %q (echo %s >> %s)",
		e.File, e.User, e.Line, e.Line, e.File)
}

// MissingToolError says that a host tool is not there.
type MissingToolError struct {
	Tool    string
	Package string // the Debian package that has it
}

func (e *MissingToolError) Error() string {
	return fmt.Sprintf("making a user namespace: the tool %s is missing; install the package %s", e.Tool, e.Package)
}

// NoUserNamespaceError says that the system forbids user namespaces.
type NoUserNamespaceError struct {
	Sysctl string // the setting that forbids; empty when none was found
	Value  string // what it is
	Want   string // what it must be
	Err    error  // what the kernel said
}

func (e *NoUserNamespaceError) Error() string {
	if e.Sysctl == "" {
		return fmt.Sprintf("making a user namespace: the system forbids it (a container's seccomp profile may): %v", e.Err)
	}
	return fmt.Sprintf("making a user namespace: sysctl %s is %s; as root, set it: sysctl -w %s=%s: %v",
		e.Sysctl, e.Value, e.Sysctl, e.Want, e.Err)
}

func (e *NoUserNamespaceError) Unwrap() error { return e.Err }

// forbidden explains why the kernel made no user namespace, or gave no rights
// in it. Debian's switch, the count of the user's namespaces, Ubuntu's AppArmor.
func forbidden(err error) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) &&
		!errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EUSERS) {
		return err
	}
	for _, s := range []struct{ name, bad, want string }{
		{"kernel.unprivileged_userns_clone", "0", "1"},
		{"user.max_user_namespaces", "0", "28633"},
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
	} {
		b, readErr := os.ReadFile("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
		if v := strings.TrimSpace(string(b)); readErr == nil && v == s.bad {
			return &NoUserNamespaceError{Sysctl: s.name, Value: v, Want: s.want, Err: err}
		}
	}
	return &NoUserNamespaceError{Err: err}
}

// initialUserNamespace is what /proc/self/ns/user says outside all user
// namespaces: the number is fixed (PROC_USER_INIT_INO of the kernel's
// proc_ns.h, since 3.8).
const initialUserNamespace = "user:[4026531837]"

// InUserNamespace says whether the process runs in a user namespace other than
// the system's first. It may be root of the machine all the same: see KeepsIDs.
func InUserNamespace() bool {
	now, err := os.Readlink("/proc/self/ns/user")
	return err == nil && now != initialUserNamespace // an error: a kernel without
}

// KeepsIDs says whether all ids are those of the machine: in no user namespace,
// or in one that maps every id to itself.
func KeepsIDs() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true // a kernel without user namespaces
	}
	r := parseIDMap(string(b))
	return len(r) == 1 && r[0] == idRange{0, 0, math.MaxUint32}
}

// OutsideUID is the id that user 0 of this user namespace has outside of it, in
// the namespace's parent: whoever made the namespace. Where user 0 is nobody
// outside, or this is no namespace of its own, ok is false.
func OutsideUID() (uid uint64, ok bool) {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || !InUserNamespace() {
		return 0, false
	}
	for _, r := range parseIDMap(string(b)) {
		if r.Inside == 0 {
			return r.Outside, true
		}
	}
	return 0, false
}

// parseIDMap reads /proc/PID/uid_map or gid_map: three numbers a line.
func parseIDMap(text string) []idRange {
	var list []idRange
	for line := range strings.Lines(text) {
		var r idRange
		if n, _ := fmt.Sscan(line, &r.Inside, &r.Outside, &r.Count); n == 3 {
			list = append(list, r)
		}
	}
	return list
}

// idMaps are the maps of a new user namespace and how to write them.
type idMaps struct {
	uid, gid []idRange
	tools    [2]string // newuidmap, newgidmap; empty: we may write them ourselves
}

// planMaps finds the maps for a user: root keeps all ids it has, an ordinary
// user becomes 0 and the subordinate ids follow from 1.
func planMaps(uid, gid int) (idMaps, error) {
	if uid == 0 {
		return identityMaps()
	}
	var m idMaps
	for i, tool := range []string{"newuidmap", "newgidmap"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			return m, &MissingToolError{Tool: tool, Package: "uidmap"}
		}
		m.tools[i] = path
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	var err error
	if m.uid, err = subMap("/etc/subuid", name, uid, uid); err != nil {
		return m, err
	}
	m.gid, err = subMap("/etc/subgid", name, uid, gid)
	return m, err
}

// identityMaps maps every id that is mapped here onto itself: 0 0 4294967295
// in the first namespace, less in a container that has its own.
func identityMaps() (idMaps, error) {
	var m idMaps
	for file, list := range map[string]*[]idRange{"/proc/self/uid_map": &m.uid, "/proc/self/gid_map": &m.gid} {
		b, err := os.ReadFile(file)
		if err != nil {
			return m, fmt.Errorf("planning the user namespace: %w", err)
		}
		for _, r := range parseIDMap(string(b)) {
			*list = append(*list, idRange{r.Inside, r.Inside, r.Count})
		}
	}
	return m, nil
}

// subMap is the map of a user with the subordinate ids of a file. own is the
// user's id of the file's kind, uid the user's own, which may stand for the
// name in the file.
func subMap(file, name string, uid, own int) ([]idRange, error) {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("planning the user namespace: %w", err)
	}
	mine, free := parseSubIDs(string(b), name, strconv.Itoa(uid))
	if len(mine) == 0 {
		line := fmt.Sprintf("%s:%d:%d", name, free, idsPerUser)
		return nil, &NoSubIDError{User: name, File: file, Line: line}
	}
	list := []idRange{{0, uint64(own), 1}}
	next := uint64(1)
	for _, r := range mine {
		list = append(list, idRange{next, r.Outside, r.Count})
		next += r.Count
	}
	return list, nil
}

// parseSubIDs reads a file of subuid(5): lines NAME:START:COUNT, where NAME is
// a login name or a number. Lines that are not of that form are passed over, as
// newuidmap does. mine are the ranges of one user; free is the first id from
// 100000 up that is after all ranges.
func parseSubIDs(text string, names ...string) (mine []idRange, free uint64) {
	free = 100000
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 {
			continue
		}
		start, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil || count == 0 || start+count > math.MaxUint32 {
			continue
		}
		free = max(free, start+count)
		for _, n := range names {
			if f[0] == n {
				mine = append(mine, idRange{Outside: start, Count: count})
				break
			}
		}
	}
	return mine, free
}

// write gives the maps to the process pid, which must be alone in its new user
// namespace. Groups first, as newgidmap has to find setgroups allowed.
func (m idMaps) write(pid int) error {
	proc := "/proc/" + strconv.Itoa(pid)
	if m.tools[0] == "" {
		if err := writeMap(proc+"/gid_map", m.gid); err != nil {
			return err
		}
		return writeMap(proc+"/uid_map", m.uid)
	}
	if err := runMapTool(m.tools[1], pid, m.gid); err != nil {
		return err
	}
	return runMapTool(m.tools[0], pid, m.uid)
}

// writeMap writes a whole map at once, as the kernel wants it.
func writeMap(file string, list []idRange) error {
	var b strings.Builder
	for _, r := range list {
		fmt.Fprintln(&b, r.Inside, r.Outside, r.Count)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0); err != nil {
		return fmt.Errorf("writing the map of the user namespace: %w", err)
	}
	return nil
}

func runMapTool(tool string, pid int, list []idRange) error {
	args := []string{strconv.Itoa(pid)}
	for _, r := range list {
		for _, n := range []uint64{r.Inside, r.Outside, r.Count} {
			args = append(args, strconv.FormatUint(n, 10))
		}
	}
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s %s: %s: %w", tool, strings.Join(args, " "), strings.TrimSpace(string(out)), err)
	}
	return nil
}
