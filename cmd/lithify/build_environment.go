package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs"
)

// contractEnvironment is what elements may find in their environment: the
// caller's variables and those that diskimage-builder's contract promises.
// Which of them a hook really gets, and which are keyed, is package rootfs'.
func contractEnvironment(j *job) rootfs.Environment {
	o, env := j.o, rootfs.Environment(maps.Clone(j.o.Environment))
	maps.Copy(env, rootfs.Environment{
		"ARCH": o.Arch, "IMAGE_NAME": o.Name, "IMAGE_TYPE": "qcow2", "FS_TYPE": o.FSType, "LC_ALL": "C",
		"DIB_ARGS": strings.Join(o.Args, " "), "DIB_ENV": dumpDIB(o.Environment),
		"DIB_IMAGE_CACHE": o.ImageCache, "DIB_LOCKFILES": o.LockFiles,
		"DIB_OFFLINE": flag(o.Offline, ""), "DIB_NO_TMPFS": flag(o.NoTmpfs, "0"),
		"DIB_MIN_TMPFS":   strconv.FormatInt(o.MinTmpfs/gib, 10),
		"DIB_DEBUG_TRACE": strconv.Itoa(o.Trace), "DIB_CHECKSUM": checksumsForHooks(o.Checksums),
		"DIB_DEFAULT_INSTALLTYPE": o.InstallType,
		"ELEMENTS_PATH":           strings.Join(o.ElementsPath, ":"),
		"IMAGE_ELEMENT":           strings.Join(elementNames(j.elements), " "), "IMAGE_ELEMENT_YAML": elementPaths(j.elements),
		"DIB_ROOT_LABEL": j.graph.RootLabel(), "DIB_ROOT_FSTYPE": j.graph.RootFSType(), "DIB_BOOT_LABEL": j.graph.BootLabel(),
		"DIB_MOUNTPOINTS": strings.Join(j.graph.MountPoints(), "|"),
	})
	if j.graph.HasVolumes() {
		env["DIB_CRYPTTAB"], env["DIB_MDADM_ARRAYS"] = strings.TrimSpace(j.graph.Crypttab()), strings.TrimSpace(j.graph.MdadmArrays())
	}
	if len(j.graph.Thin()) > 0 {
		env["DIB_LVM_THIN"] = "1"
	}
	return env
}

func flag(on bool, off string) string {
	if on {
		return "1"
	}
	return off
}

// elementPaths is IMAGE_ELEMENT_YAML: where each element is.
func elementPaths(els []elements.Element) string {
	paths := map[string]string{}
	for _, e := range els {
		paths[e.Name] = e.Path
	}
	text, _ := yaml.Marshal(paths) // sorts the keys; texts always go
	return string(text)
}

// dumpDIB lists the caller's DIB_ variables as the shell declares them. Values
// whose names say that they are secret are left out: the list goes beside
// images.
func dumpDIB(env map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(name, "DIB_") {
			continue
		}
		value := env[name]
		if rootfs.IsSecret(name) {
			value = "***"
		}
		fmt.Fprintf(&b, "declare -x %s=%s\n", name, strconv.Quote(value))
	}
	return b.String()
}

// checksumsForHooks says which checksums are wanted as hooks compare it, which
// write checksums of what they make themselves: 0, 1 for both, or the one's name.
func checksumsForHooks(names []string) string {
	switch len(names) {
	case 0:
		return "0"
	case 1:
		return names[0]
	}
	return "1"
}
