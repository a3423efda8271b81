package lvm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	idAlphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	idLength   = 32

	letters    = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	nameLetter = letters + "+_.-"
	tagLetter  = nameLetter + "/=!:&#"

	maxName = 127
	maxTag  = 1024
	// LVM adds three to the two lengths and takes less than 128.
	maxBoth = 124
)

// ID makes an LVM id of a checksum: 32 letters and digits, grouped 6-4-4-4-4-4-6.
func ID(sum [32]byte) string {
	var b strings.Builder
	for i, c := range sum {
		if i >= 6 && i <= 26 && i%4 == 2 {
			b.WriteByte('-')
		}
		b.WriteByte(idAlphabet[int(c)%len(idAlphabet)])
	}
	return b.String()
}

// MapperName returns the name of a logical volume below /dev/mapper.
func MapperName(vg, lv string) string {
	return strings.ReplaceAll(vg, "-", "--") + "-" + strings.ReplaceAll(lv, "-", "--")
}

func checkID(id string) error {
	groups := strings.Split(id, "-")
	ok := len(groups) == 7
	for i, g := range groups {
		want := 4
		if i == 0 || i == 6 {
			want = 6
		}
		ok = ok && len(g) == want && strings.Trim(g, idAlphabet+"!#") == ""
	}
	if !ok {
		return fmt.Errorf("id %q: 32 letters or digits in groups of 6-4-4-4-4-4-6 are allowed", id)
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("%q is no name for a volume", name)
	case len(name) > maxName:
		return fmt.Errorf("the name has %d characters; at most %d are allowed", len(name), maxName)
	case name[0] == '-':
		return errors.New("a name begins with no hyphen")
	}
	return checkLetters(name, nameLetter, "letters, digits and + _ . -")
}

// deviceNames are in every /dev, where the group's folder would be.
var deviceNames = []string{
	"block", "bus", "char", "console", "cpu", "disk", "dri", "fd", "full", "hugepages", "initctl", "input", "kmsg", "log",
	"loop-control", "mapper", "md", "mem", "mqueue", "net", "null", "port", "ptmx", "pts", "random", "rtc", "shm", "snd",
	"stderr", "stdin", "stdout", "tty", "urandom", "vfio", "zero",
}

// CheckGroupName tells what LVM would not like of a group's name.
func CheckGroupName(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if slices.Contains(deviceNames, name) {
		return fmt.Errorf("/dev/%s is something else on every Linux system", name)
	}
	return nil
}

// reservedParts are in the names of LVM's hidden volumes.
var reservedParts = []string{
	"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage",
	"_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
}

// CheckLogicalName tells what LVM would not like of a volume's name in a group.
func CheckLogicalName(vg, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	for _, p := range []string{"snapshot", "pvmove"} {
		if strings.HasPrefix(name, p) {
			return fmt.Errorf("LVM keeps names that begin with %q to itself", p)
		}
	}
	for _, p := range reservedParts {
		if strings.Contains(name, p) {
			return fmt.Errorf("LVM keeps names with %q in them to itself", p)
		}
	}
	if n := len(vg) + len(name); n > maxBoth {
		return fmt.Errorf("the names of group and volume have %d characters; at most %d are allowed", n, maxBoth)
	}
	if m := MapperName(vg, name); len(m) > maxName {
		return fmt.Errorf("its device-mapper name, where hyphens count twice, has %d characters; at most %d are allowed", len(m), maxName)
	}
	return nil
}

func checkTags(tags []string) error {
	for _, t := range tags {
		err := checkLetters(t, tagLetter, "letters, digits and + _ . - / = ! : & #")
		switch {
		case t == "":
			err = errors.New("it is empty")
		case t[0] == '-':
			err = errors.New("a tag begins with no hyphen")
		case len(t) > maxTag:
			err = fmt.Errorf("it has %d characters; at most %d are allowed", len(t), maxTag)
		}
		if err != nil {
			return fmt.Errorf("tag %q: %w", t, err)
		}
	}
	return nil
}

func checkLetters(s, allowed, words string) error {
	for _, c := range s {
		if !strings.ContainsRune(allowed, c) {
			return fmt.Errorf("%q is not allowed; %s are", c, words)
		}
	}
	return nil
}

// checkPlain is for text that goes into the metadata between quotes.
func checkPlain(what, s string) error {
	for _, c := range s {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return fmt.Errorf("%s %q: %q is not allowed; printable ASCII without quotes and backslashes is", what, s, c)
		}
	}
	return nil
}
