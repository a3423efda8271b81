package rootfs

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lithify/lithify/elements"
)

// shellLibrary is what hooks outside the target find in $_LIB: files that they
// source for the functions that elements are used to have there.
//
//go:embed lib
var shellLibrary embed.FS

// kernelChoice is the library's command that img-functions calls, whether the
// image has the element that brings it or not.
const kernelChoice = "select-boot-kernel-initrd"

func writeShellLibrary(dir string) error {
	files, err := fs.Sub(shellLibrary, "lib")
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		text, err := fs.ReadFile(files, e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), text, 0o644); err != nil {
			return fmt.Errorf("writing the shell functions for hooks: %w", err)
		}
	}
	text, err := fs.ReadFile(elements.Builtin().FS, kernelChoice+"/bin/"+kernelChoice)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, kernelChoice), text, 0o644)
	}
	return err
}

// shellFunctions are handed to hooks outside that name them, as bash hands on
// functions that were exported. get_image_element_array prints what
// `declare -A` takes: a hook does
//
//	eval declare -A elements=($(get_image_element_array))
var shellFunctions = map[string]string{
	"die": `() { local code=$?; echo "$@" >&2; exit $((code ? code : 1)); }`,
	"get_image_element_array": `() { local name path
while IFS=' ' read -r name path; do
    path=${path#\"} path=${path%\"}; path=${path//\\\"/\"} # the YAML quotes paths
    if [ -n "$name" ]; then printf '[%s]=%q ' "${name%:}" "${path//\\\\/\\}"; fi
done <<< "${IMAGE_ELEMENT_YAML:-}"; }`,
}
