package elements

import (
	"fmt"
	"strings"
)

// PackageMap is what an element's pkg-map says: names of packages in the
// words of distributions. The value of a name may hold several packages with
// blanks between them, or be empty for none.
type PackageMap struct {
	usual   names                       // section "default"
	family  map[string]names            // by DistroFamily
	distro  map[string]names            // by DISTRO_NAME
	release map[string]map[string]names // by DISTRO_NAME, then DIB_RELEASE
}

type names map[string]string

// Lookup returns what name is called in a release of a distribution; ok is
// false when the map does not have it. The most specific section that has the
// name wins: release, distro, family, default. A release such as 9-stream has
// what 9 has, unless it has its own.
func (m PackageMap) Lookup(distro, release, name string) (pkgs string, ok bool) {
	major, isStream := strings.CutSuffix(release, "-stream")
	sections := []names{m.release[distro][release]}
	if isStream {
		sections = append(sections, m.release[distro][major])
	}
	sections = append(sections, m.distro[distro], m.family[DistroFamily(distro)], m.usual)
	for _, s := range sections {
		if pkgs, ok = s[name]; ok {
			return pkgs, true
		}
	}
	return "", false
}

// ParsePackageMap reads a pkg-map file (JSON).
func ParsePackageMap(data []byte) (PackageMap, error) {
	doc, err := parseJSON(data)
	if err != nil {
		return PackageMap{}, err
	}
	if doc.kind != isMapping {
		return PackageMap{}, fmt.Errorf("line %d: found %s; want a mapping of sections", doc.line, doc.describe())
	}
	var m PackageMap
	for _, section := range doc.fields {
		if err := m.read(section); err != nil {
			return PackageMap{}, fmt.Errorf("section %q: %w", section.key, err)
		}
	}
	return m, nil
}

func (m *PackageMap) read(section field) (err error) {
	allowed := []string{"default", "family", "distro", "release"}
	switch section.key {
	case "default":
		m.usual, err = parseMapping(section.value, text)
	case "family":
		m.family, err = parseMapping(section.value, textsByName)
	case "distro":
		m.distro, err = parseMapping(section.value, textsByName)
	case "release":
		m.release, err = parseMapping(section.value, func(v value) (map[string]names, error) {
			return parseMapping(v, textsByName)
		})
	default:
		err = fmt.Errorf("line %d: unknown; allowed: %s%s", section.line, strings.Join(allowed, ", "), didYouMean(section.key, allowed))
	}
	return err
}

// parseMapping reads a mapping whose values each reads.
func parseMapping[T any](v value, each func(value) (T, error)) (map[string]T, error) {
	if v.kind != isMapping {
		return nil, fmt.Errorf("line %d: found %s; want a mapping", v.line, v.describe())
	}
	all := map[string]T{}
	for _, f := range v.fields {
		one, err := each(f.value)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", f.key, err)
		}
		all[f.key] = one
	}
	return all, nil
}

func textsByName(v value) (names, error) { return parseMapping(v, text) }

func text(v value) (string, error) {
	if v.kind != isText {
		return "", fmt.Errorf("line %d: found %s; want a text", v.line, v.describe())
	}
	return v.text, nil
}

// PackageMaps returns the pkg-map files of the elements that have one, by the
// name of the element, as they are; each has been read without a mistake.
func PackageMaps(els []Element) (map[string][]byte, error) {
	maps := map[string][]byte{}
	for _, e := range els {
		data, err := e.read("pkg-map")
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		if _, err := ParsePackageMap(data); err != nil {
			return nil, &FileError{e.Name, "pkg-map", err}
		}
		maps[e.Name] = data
	}
	return maps, nil
}
