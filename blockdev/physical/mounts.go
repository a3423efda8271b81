package physical

import "strings"

// Mount is a mount that this process's namespace has.
type Mount struct {
	Device string // MAJOR:MINOR of its files; btrfs has one of its own
	Source string // as it was mounted: the path of a device, often
	Target string
}

// escaped are the characters that the kernel writes as octal numbers there.
var escaped = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Mounts lists the mounts of this namespace, in the order in which they were made.
//
// Source: proc_pid_mountinfo(5).
func Mounts() ([]Mount, error) {
	var all []Mount
	err := eachLine("/proc/self/mountinfo", func(words []string) {
		for i, w := range words { // optional words stand before the dash
			if i > 5 && w == "-" && i+2 < len(words) {
				all = append(all, Mount{words[2], escaped.Replace(words[i+2]), escaped.Replace(words[4])})
				return
			}
		}
	})
	return all, err
}
