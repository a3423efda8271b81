package lvm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Restate turns what vgcfgbackup wrote of a group that LVM's own programs made into
// the group's metadata under g's name, ids, time and host; WriteText writes it. What
// names the machine that built it, or the names it had there, goes: paths of
// devices, host names, a system ID. Logical volumes are found by their names, and
// LVM's hidden ones, which g does not list, get ids derived from the group's. Places
// and kinds of volumes stay as they are, but that a full thin pool waits for more.
// Physical volumes must be those of g in its order, with data where DataStart says.
func (g Group) Restate(backup []byte) ([]byte, error) {
	if err := g.checkIdentity(); err != nil {
		return nil, err
	}
	r := restater{group: g}
	for n, line := range strings.Split(string(backup), "\n") {
		if err := r.line(strings.TrimSpace(withoutRemark(line))); err != nil {
			return nil, fmt.Errorf("metadata of volume group %q, line %d: %w", g.Name, n+1, err)
		}
	}
	if len(r.open) > 0 || r.volumes != len(g.Volumes) || r.logical < len(g.Logical) {
		return nil, fmt.Errorf("metadata of volume group %q: found %d physical and %d logical volumes, expected %d and %d",
			g.Name, r.volumes, r.logical, len(g.Volumes), len(g.Logical))
	}
	g.writeTrailer(&r.out)
	return r.out.Bytes(), nil
}

func (g Group) checkIdentity() error {
	if err := CheckGroupName(g.Name); err != nil {
		return fmt.Errorf("volume group %q: %w", g.Name, err)
	}
	ids := []string{g.ID}
	for _, v := range g.Volumes {
		ids = append(ids, v.ID)
	}
	for _, v := range g.Logical {
		ids = append(ids, v.ID)
	}
	for _, id := range ids {
		if err := checkID(id); err != nil {
			return fmt.Errorf("volume group %q: %w", g.Name, err)
		}
	}
	return checkPlain("host", g.host())
}

// restater reads LVM's configuration language, a line at a time: NAME {, }, KEY =
// VALUE, and lists that go over several lines.
type restater struct {
	group   Group
	out     bytes.Buffer
	open    []string // sections, the group first
	volumes int
	logical int
}

func (r *restater) line(line string) error {
	key, value, assigned := strings.Cut(line, " = ")
	switch {
	case line == "":
		return nil
	case strings.HasSuffix(line, "{"):
		return r.section(strings.TrimSpace(strings.TrimSuffix(line, "{")))
	case line == "}" && len(r.open) > 0:
		r.open = r.open[:len(r.open)-1]
	case len(r.open) == 0:
		return nil // of the file, not of the group
	case assigned:
		return r.assignment(key, value)
	}
	r.out.WriteString(line + "\n")
	return nil
}

func (r *restater) section(name string) error {
	r.open = append(r.open, name)
	switch {
	case len(r.open) == 1 && r.out.Len() > 0:
		return fmt.Errorf("a second group, %q", name)
	case len(r.open) == 1:
		name = r.group.Name
	case r.in("physical_volumes"):
		if want := "pv" + strconv.Itoa(r.volumes); name != want {
			return fmt.Errorf("found %q, expected %q", name, want)
		}
		r.volumes++
	case r.in("logical_volumes"):
		r.logical++
	}
	r.out.WriteString(name + " {\n")
	return nil
}

// in says whether the section that is open is one of that kind's.
func (r *restater) in(kind string) bool { return len(r.open) == 3 && r.open[1] == kind }

func (r *restater) assignment(key, value string) error {
	at := "group"
	switch {
	case r.in("physical_volumes"):
		at = "physical"
	case r.in("logical_volumes"):
		at = "logical"
	case len(r.open) != 1:
		at = ""
	}
	switch at + " " + key {
	case "group id":
		value = strconv.Quote(r.group.ID)
	case "group seqno":
		value = "1"
	case "group system_id", "physical device_id", "physical device_id_type":
		return nil
	case "physical id":
		value = strconv.Quote(r.group.Volumes[r.volumes-1].ID)
	case "physical device":
		value = `"[unknown]"`
	case "physical pe_start":
		if want := fmt.Sprint(DataStart(r.group.Volumes[r.volumes-1].DataAlignment) / sector); value != want {
			return fmt.Errorf("physical volume %q has its data at sector %s, expected %s", r.group.pvName(r.volumes-1), value, want)
		}
	case "logical id":
		value = strconv.Quote(r.group.logicalID(r.open[2]))
	case "logical flags":
		value = strings.NewReplacer(`"ERROR_WHEN_FULL", `, "", `, "ERROR_WHEN_FULL"`, "", `"ERROR_WHEN_FULL"`, "").Replace(value)
	case "logical creation_time":
		value = strconv.FormatInt(r.group.unix(), 10)
	case "logical creation_host":
		value = strconv.Quote(r.group.host())
	}
	r.out.WriteString(key + " = " + value + "\n")
	return nil
}

func (g Group) logicalID(name string) string {
	if i := slices.IndexFunc(g.Logical, func(l Logical) bool { return l.Name == name }); i >= 0 {
		return g.Logical[i].ID
	}
	return ID(sha256.Sum256(fmt.Appendf(nil, "lithify hidden volume %q %q", g.ID, name)))
}

// withoutRemark cuts off what follows a # that is in no string.
func withoutRemark(line string) string {
	quoted := false
	for i := range len(line) {
		switch {
		case line[i] == '"' && (i == 0 || line[i-1] != '\\'):
			quoted = !quoted
		case line[i] == '#' && !quoted:
			return line[:i]
		}
	}
	return line
}

// WriteText writes label and metadata of every physical volume of the group, as
// WriteMetadata does, with a text of Restate. What an older text leaves behind it
// in a metadata area is not looked at by LVM.
func (g Group) WriteText(text []byte, pvs []Device) error {
	l := &Layout{group: g, text: text}
	for _, v := range g.Volumes {
		if most := (metadataSize(v.DataAlignment) - sector) / 2; int64(len(text)) > most {
			return fmt.Errorf("volume group %q: its metadata has %d bytes; at most %d are allowed", g.Name, len(text), most)
		}
	}
	return l.WriteMetadata(pvs)
}
