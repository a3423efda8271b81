package md

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// identity is what tells arrays and members apart.
type identity struct {
	uuid    [16]byte
	name    string // as the superblock has it
	devices [][16]byte
	time    uint64 // seconds since 1970
}

func (a Array) identity() (identity, error) {
	var id identity
	var err error
	if id.uuid, err = parseUUID(a.UUID); err != nil {
		return id, err
	}
	if id.name, err = a.fullName(); err != nil {
		return id, err
	}
	if len(a.MemberIDs) != len(a.Members) {
		return id, fmt.Errorf("%d members have %d device UUIDs", len(a.Members), len(a.MemberIDs))
	}
	seen := map[[16]byte]int{}
	for i, s := range a.MemberIDs {
		device, err := parseUUID(s)
		if err != nil {
			return id, fmt.Errorf("member %d: %w", i, err)
		}
		if other, twice := seen[device]; twice {
			return id, fmt.Errorf("members %d and %d have the same device UUID %q", other, i, s)
		}
		seen[device] = i
		id.devices = append(id.devices, device)
	}
	if !a.Time.IsZero() {
		if s := a.Time.Unix(); s < 0 || s >= 1<<40 {
			return id, fmt.Errorf("time %s: a superblock holds 40 bits of seconds since 1970", a.Time)
		}
		id.time = uint64(a.Time.Unix())
	}
	return id, nil
}

// parseUUID reads both forms; the bytes lie in the order the digits are written in.
func parseUUID(s string) (id [16]byte, err error) {
	for _, groups := range []struct {
		between string
		digits  []int
	}{{"-", []int{8, 4, 4, 4, 12}}, {":", []int{8, 8, 8, 8}}, {"", []int{32}}} {
		if digits, ok := join(s, groups.between, groups.digits); ok {
			if _, err := hex.Decode(id[:], []byte(digits)); err == nil {
				return id, nil
			}
		}
	}
	return id, fmt.Errorf("UUID %q: 32 hexadecimal digits are wanted, such as 6cdc7b69:3a1f0c2e:95d4b8a7:01e2f3c4 or in RFC form", s)
}

// join takes the separators out, if the parts between them have these lengths.
func join(s, between string, lengths []int) (string, bool) {
	parts := []string{s}
	if between != "" {
		parts = strings.Split(s, between)
	}
	if len(parts) != len(lengths) {
		return "", false
	}
	for i, p := range parts {
		if len(p) != lengths[i] {
			return "", false
		}
	}
	return strings.Join(parts, ""), true
}

// CheckName says what is wrong with the name of an array, without its host.
func CheckName(name string) error {
	if strings.Contains(name, ":") {
		return fmt.Errorf("name %q: a colon ends the name of a host", name)
	}
	_, err := Array{Name: name}.fullName()
	return err
}

// fullName is Name, with the host before it unless it has one.
func (a Array) fullName() (string, error) {
	name := a.Name
	if a.HomeHost != "" && !strings.Contains(name, ":") {
		name = a.HomeHost + ":" + name
	}
	host, rest, both := strings.Cut(name, ":")
	if !both {
		host, rest = "any", name
	}
	switch {
	case a.Name == "" || rest == "":
		return "", errors.New("the array has no name")
	case !portable(rest):
		return "", fmt.Errorf("name %q: letters, digits, '.', '_' and '-' are allowed, and no '-' or '.' in front", rest)
	case !portable(host):
		return "", fmt.Errorf("host %q of name %q: letters, digits, '.', '_' and '-' are allowed, and no '-' or '.' in front", host, name)
	case len(name) > maxName:
		return "", fmt.Errorf("name %q has %d bytes; a superblock holds %d, the host among them", name, len(name), maxName)
	}
	return name, nil
}

// portable says whether s is a file name that POSIX calls portable, which newer
// mdadm insist on, and that is not hidden.
func portable(s string) bool {
	if s == "" || s[0] == '-' || s[0] == '.' {
		return false
	}
	for _, r := range s {
		if !strings.ContainsRune("._-", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return true
}
