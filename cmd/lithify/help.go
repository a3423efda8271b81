package main

import (
	"fmt"
	"strings"
)

// helpText is what --help prints.
func helpText(command string) string {
	var b strings.Builder
	what := "a disk image from elements, for instance: " + imageCommand + " -o debian debian-minimal vm"
	if command == ramdiskCommand {
		what = "NAME.kernel and NAME.initramfs from elements, for instance: " + ramdiskCommand + " -o agent debian-minimal my-agent"
	}
	b.WriteString("Usage: " + command + " [OPTION]... ELEMENT...\n\nBuild " + what + "\n" +
		"Options and elements may be mixed; long options may be shortened; the last of a repeated option counts.\n" +
		"A variable in brackets has the same effect as the option beside it.\n\nOptions:\n")
	for _, p := range optionTable() {
		b.WriteString(optionHelp(p))
	}
	b.WriteString("\nOther variables: ELEMENTS_PATH, TMPDIR, TMP_DIR, DIB_LOCKFILES, DIB_BLOCK_DEVICE_CONFIG (text or file://PATH),\n" +
		"OVERWRITE_OLD_IMAGE, DIB_QUIET, DIB_NO_TIMESTAMP, FS_TYPE, SOURCE_DATE_EPOCH; all others reach the elements.\n\nExit codes:\n")
	for _, row := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", row.code, row.meaning)
	}
	return b.String()
}

func optionHelp(p option) string {
	name := "    --" + p.long
	if p.short != "" {
		name = "-" + p.short + ", --" + p.long
	}
	if p.value != "" {
		name += " " + p.value
	}
	help := p.help
	if p.env != "" {
		help += " [" + p.env + "]"
	}
	return fmt.Sprintf("  %-30s %s\n", name, help)
}
