package elements

import (
	"fmt"
)

// ServiceMap is what the svc-map files of all elements say: names of services
// in the words of distributions.
type ServiceMap struct {
	services map[string]service
}

type service struct {
	names   map[string]string // by distribution, family, or "default"
	element string
}

// MergeServiceMaps reads the svc-map files (YAML) of the elements. A service
// that two elements define is a mistake.
func MergeServiceMaps(els []Element) (ServiceMap, error) {
	m := ServiceMap{services: map[string]service{}}
	for _, e := range els {
		data, err := e.read("svc-map")
		if err != nil {
			return ServiceMap{}, err
		}
		if data == nil {
			continue
		}
		if err := m.add(e.Name, data); err != nil {
			return ServiceMap{}, &FileError{e.Name, "svc-map", err}
		}
	}
	return m, nil
}

func (m ServiceMap) add(element string, data []byte) error {
	doc, err := parseDocument(data)
	if err != nil || doc.kind == isNothing {
		return err
	}
	all, err := parseMapping(doc, func(v value) (map[string]string, error) { return parseMapping(v, text) })
	if err != nil {
		return err
	}
	for _, f := range doc.fields {
		if first, taken := m.services[f.key]; taken {
			return fmt.Errorf("line %d: the service %q is defined by element '%s' already", f.line, f.key, first.element)
		}
		m.services[f.key] = service{all[f.key], element}
	}
	return nil
}

// Lookup returns what the service name is called in a distribution: by its
// own entry, its family's, the default, else the name itself.
func (m ServiceMap) Lookup(distro, name string) string {
	for _, key := range []string{distro, DistroFamily(distro), "default"} {
		if found, ok := m.services[name].names[key]; ok && key != "" {
			return found
		}
	}
	return name
}

// Resolve returns every service of the map with its name in a distribution:
// what is stored in the target.
func (m ServiceMap) Resolve(distro string) map[string]string {
	resolved := map[string]string{}
	for name := range m.services {
		resolved[name] = m.Lookup(distro, name)
	}
	return resolved
}
