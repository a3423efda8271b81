package fat

import (
	"fmt"
	"strconv"
	"strings"
)

// flag is one option of mkfs.fat(8).
type flag struct {
	value bool // it takes one
	set   func(o *Options, v string) error
}

// flags are mkfs.fat's options that say something about the file system. -I and
// -v say nothing here, and are in many scripts.
var flags = map[byte]flag{
	'F': {true, func(o *Options, v string) error { return number(v, 0, 32, &o.Bits) }},
	's': {true, func(o *Options, v string) error { return number(v, 1, 128, &o.SectorsPerCluster) }},
	'S': {true, setSectorSize},
	'f': {true, func(o *Options, v string) error { return number(v, 1, 2, &o.FATs) }},
	'r': {true, func(o *Options, v string) error { return number(v, 1, 65535, &o.RootEntries) }},
	'R': {true, func(o *Options, v string) error { return number(v, 1, 32768, &o.Reserved) }},
	'M': {true, setMedia},
	'h': {true, setHidden},
	'i': {true, func(o *Options, v string) (err error) { o.ID, err = ParseID(v); return err }},
	'n': {true, func(o *Options, v string) (err error) { o.Label, err = CleanLabel(v); return err }},
	'a': {false, func(o *Options, _ string) error { o.NoAlign = true; return nil }},
	'I': {false, func(*Options, string) error { return nil }},
	'v': {false, func(*Options, string) error { return nil }},
}

const allowedFlags = "allowed: -F BITS, -s SECTORS_PER_CLUSTER, -S SECTOR_SIZE, -f FATS, -r ROOT_ENTRIES, " +
	"-R RESERVED_SECTORS, -M MEDIA, -h HIDDEN_SECTORS, -i ID, -n LABEL, -a, -I, -v"

// refused are options of mkfs.fat that cannot be had here, and why.
var refused = map[byte]string{
	'A': "Atari's format is not made",
	'b': "the backup boot sector is always sector 6",
	'B': "the boot sector's code is fixed",
	'c': "an image has no bad blocks",
	'C': "the image is made by the block-device configuration",
	'D': "the drive number is always 0x80",
	'g': "the geometry follows from the size",
	'l': "an image has no bad blocks",
	'm': "the boot sector has no message",
}

// ParseOptions reads mkfs.fat's command-line options, as getopt does, into o.
// Options that it does not name stay as they are. A SectorSize that o has
// already is the disk's: -S may not be less.
func ParseOptions(words []string, o *Options) error {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if len(word) < 2 || word[0] != '-' || word[1] == '-' {
			return fmt.Errorf("option %q of mkfs.fat: not known here; %s", word, allowedFlags)
		}
		var err error
		if words, err = parseWord(word[1:], words, o); err != nil {
			return err
		}
	}
	_, err := o.complete() // what is only wrong together, as -s with -S
	return err
}

// parseWord reads the letters of one word; rest is what follows it.
func parseWord(letters string, rest []string, o *Options) ([]string, error) {
	for letters != "" {
		c := letters[0]
		letters = letters[1:]
		f, ok := flags[c]
		if !ok {
			return nil, unknownFlag(c)
		}
		value := ""
		if f.value {
			if value, letters = letters, ""; value == "" {
				if len(rest) == 0 {
					return nil, fmt.Errorf("option -%c of mkfs.fat: its value is missing", c)
				}
				value, rest = rest[0], rest[1:]
			}
		}
		if err := f.set(o, value); err != nil {
			return nil, fmt.Errorf("option -%c of mkfs.fat: %w", c, err)
		}
	}
	return rest, nil
}

func unknownFlag(c byte) error {
	if why, ok := refused[c]; ok {
		return fmt.Errorf("option -%c of mkfs.fat: %s; %s", c, why, allowedFlags)
	}
	return fmt.Errorf("option %q of mkfs.fat: not known; %s", "-"+string(rune(c)), allowedFlags)
}

func number(v string, low, high int, to *int) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || int(n) < low || int(n) > high {
		return fmt.Errorf("%q: a number from %d to %d is allowed", v, low, high)
	}
	*to = int(n)
	return nil
}

func setSectorSize(o *Options, v string) error {
	disk := o.SectorSize
	if err := number(v, 512, 4096, &o.SectorSize); err != nil {
		return err
	}
	if o.SectorSize < disk {
		return fmt.Errorf("%s: the disk's sectors have %d bytes, and the kernel mounts nothing with smaller ones", v, disk)
	}
	return nil
}

func setMedia(o *Options, v string) error {
	n, err := strconv.ParseUint(v, 0, 8)
	if err != nil || n != 0xF0 && n < 0xF8 {
		return fmt.Errorf("%q: allowed are 0xF0 and 0xF8 to 0xFF", v)
	}
	o.Media = byte(n)
	return nil
}

func setHidden(o *Options, v string) error {
	n, err := strconv.ParseUint(strings.TrimSpace(v), 0, 32)
	if err != nil {
		return fmt.Errorf("%q: a number of sectors up to 4294967295 is allowed", v)
	}
	o.HiddenSectors = uint32(n)
	return nil
}
