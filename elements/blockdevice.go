package elements

import "fmt"

// LayoutConflictError says that two elements bring a layout of the disk.
type LayoutConflictError struct {
	First, Second         string // elements
	FirstFile, SecondFile string // in them
}

func (e *LayoutConflictError) Error() string {
	return fmt.Sprintf("choosing the layout of the disk: '%s' has %s and '%s' has %s; use one of the two elements, or say which layout in DIB_BLOCK_DEVICE_CONFIG",
		e.First, e.FirstFile, e.Second, e.SecondFile)
}

// BlockDeviceConfig returns the layout of the disk that an element brings,
// with the element's name and the file: block-device-<arch>.yaml, else
// block-device-default.yaml. Without one, all are empty. Two elements that bring
// one are a *LayoutConflictError: which one counted would be chance.
func BlockDeviceConfig(els []Element, arch string) (element, file string, data []byte, err error) {
	for _, e := range els {
		name, found, err := e.layout(arch)
		if err != nil {
			return "", "", nil, err
		}
		if found == nil {
			continue
		}
		if element != "" {
			return "", "", nil, &LayoutConflictError{element, e.Name, file, name}
		}
		element, file, data = e.Name, name, found
	}
	return element, file, data, nil
}

func (e Element) layout(arch string) (file string, data []byte, err error) {
	if arch == "ppc64le" {
		arch = "ppc64el" // both spellings are in use, one in file names
	}
	for _, name := range []string{arch, "default"} {
		file = "block-device-" + name + ".yaml"
		if data, err = e.read(file); data != nil || err != nil {
			return file, data, err
		}
	}
	return "", nil, nil
}
