package blockdev

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The schema is one by its own draft, every key says what it is, and what it
// lists is what the program knows.
func TestSchema(t *testing.T) {
	_, tree := schema()
	meta, err := jsonschema.NewCompiler().Compile("https://json-schema.org/draft/2020-12/schema")
	if err != nil {
		t.Fatal(err)
	}
	if err := meta.Validate(tree); err != nil {
		t.Error(err)
	}
	used := map[string]bool{}
	walkSchema(tree, "#", func(at string, rule map[string]any) {
		if f, ok := rule["format"].(string); ok {
			used[f] = true
			if formats[f] == nil {
				t.Errorf("%s: nobody knows format %q", at, f)
			}
		}
		if ref, ok := rule["$ref"].(string); ok && lookUp(tree, ref[1:]) == nil {
			t.Errorf("%s: %s leads nowhere", at, ref)
		}
		// Conditions and what they add describe keys that stand elsewhere.
		if regexp.MustCompile(`/\$defs/[A-Za-z_]+/properties/[^/]+$`).MatchString(at) && !strings.Contains(at, "/entry/") {
			for _, word := range []string{"title", "description"} {
				if resolved(tree, rule, word) == "" {
					t.Errorf("%s has no %s", at, word)
				}
			}
		}
	})
	for f := range formats {
		if !used[f] {
			t.Errorf("no key has format %q", f)
		}
	}
	listed(t, "/$defs/mkfs/properties/type/enum", tree, slices.Collect(maps.Keys(fsTypes)))
	listed(t, "/$defs/gptAttribute/examples", tree, slices.Collect(maps.Keys(gptAttributes)))
	for _, def := range append(kindNames(), "mbrPartition", "gptPartition", "entry") {
		for _, k := range kindNames() {
			if lookUp(tree, "/$defs/"+def+"/properties/"+k) == nil {
				t.Errorf("%s takes no %s", def, k)
			}
		}
	}
}

func walkSchema(v any, at string, visit func(at string, rule map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(at, v)
		for k, c := range v {
			walkSchema(c, at+"/"+k, visit)
		}
	case []any:
		for _, c := range v {
			walkSchema(c, at+"/[]", visit)
		}
	}
}

// resolved returns an annotation of a rule or of what it refers to.
func resolved(tree any, rule map[string]any, word string) string {
	if s, ok := rule[word].(string); ok {
		return s
	}
	ref, _ := rule["$ref"].(string)
	if next, ok := lookUp(tree, strings.TrimPrefix(ref, "#")).(map[string]any); ok && ref != "" {
		return resolved(tree, next, word)
	}
	return ""
}

func listed(t *testing.T, pointer string, tree any, want []string) {
	t.Helper()
	var got []string
	list, _ := lookUp(tree, pointer).([]any)
	for _, w := range list {
		got = append(got, w.(string))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s lists %q, the program knows %q", pointer, got, want)
	}
}

// What a pattern says to editors is what the program's own rule says.
func TestPatterns(t *testing.T) {
	_, tree := schema()
	for pointer, rule := range map[string]func(string) error{
		"/$defs/size":                         func(s string) error { _, err := ParseSize(s); return err },
		"/$defs/partitionSize":                func(s string) error { _, err := ParseRelativeSize(s); return err },
		"/$defs/mbrPartition/properties/type": formats["mbr-type"],
	} {
		pattern := regexp.MustCompile(lookUp(tree, pointer+"/pattern").(string))
		for _, s := range []string{
			"2.5GiB", "12KB", "4T", "50%", "512B", "364", "0", "1 K", "1  K", "1.", ".5", ".", "1.2.3", "GiB", "1gib", "x", "-1", "1 %",
			"1e1%", "0x10%", "+5%", "%", ".5 %", "83", "0x83", "0X0c", "8300", "0x", "1KiBB", "1B", "1iB", "1Ki", "100.0%", "5\n",
		} {
			if got, want := pattern.MatchString(s), rule(s) == nil; got != want && want {
				t.Errorf("%s: %q: the pattern refuses what the program takes", pointer, s)
			} else if got && !want && pointer == "/$defs/size" {
				t.Errorf("%s: %q: the pattern takes what the program refuses: %v", pointer, s, rule(s))
			}
		}
	}
}

// accepted returns every configuration that is shown or shipped.
func accepted(t *testing.T) map[string]string {
	all := map[string]string{"one partition": onePartition, "three": tableOfThree}
	for name, c := range forms {
		all[name] = c.config
	}
	for name, c := range contractLayouts {
		all["contract: "+name] = c
	}
	files, err := filepath.Glob("../elements/*/block-device-*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d layouts of elements, %v", len(files), err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[f] = string(data)
	}
	for name, c := range manual(t) {
		all[name] = c
	}
	return all
}

// manual returns the examples of the manual.
func manual(t *testing.T) map[string]string {
	text, err := os.ReadFile("../docs/blockdev.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^```(?:yaml|json)\n(.*?)^```$").FindAllSubmatch(text, -1) {
		first, _, _ := strings.Cut(string(m[1]), "\n")
		all["docs/blockdev.md: "+first] = string(m[1])
	}
	if len(all) < 4 {
		t.Errorf("%d examples in the manual", len(all))
	}
	return all
}

func TestExamples(t *testing.T) {
	for name, config := range accepted(t) {
		c, err := Parse([]byte(config))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := c.Graph(Defaults{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The manual's four forms are one disk.
func TestManualForms(t *testing.T) {
	prints := map[string]bool{}
	for name, config := range manual(t) {
		if strings.Contains(config, "fsck-passno: 1}") && strings.Contains(config, "label: mbr") || strings.Contains(name, "[[[") {
			prints[mustGraph(t, config).Fingerprint()] = true
		}
	}
	if len(prints) != 1 {
		t.Errorf("%d different disks", len(prints))
	}
}

// The errors that the manual shows are the program's.
func TestManualErrors(t *testing.T) {
	text, err := os.ReadFile("../docs/blockdev.md")
	if err != nil {
		t.Fatal(err)
	}
	root := "- local_loop:\n    name: image0\n- partitioning:\n    base: image0\n    label: mbr\n    partitions:\n    - name: root\n      flags: [boot, primary]\n"
	for _, config := range []string{
		root + "      sizee: 100%\n", root + "      size: 12 GIB\n", `[{"local_loop": {"name": "image0"}, "mkfs": {"base": "image0"}}]`,
		`[{"local_loop": {"name": "image0"}}, {"mkfs": {"base": "imag0"}}]`, `[[["mkfs", {"base": "image0"}]]]`, `[{"local_loop": {"name": "image0", "lvm": {"pvs": [{"name": "pv", "base": "image0"}], "vgs": [{"name": "vg", "base": "pw"}], "lvs": [{"name": "root", "base": "vg", "size": "1GiB"}]}}}]`,
	} {
		if err := mistake(config); err == nil || !strings.Contains(string(text), ": "+err.Error()+"\n") {
			t.Errorf("not in the manual: %v", err)
		}
	}
}

// Other people's validator, which knows nothing of our formats, and their YAML
// reader, for which 0x41 is 65, accept what is right, and find what is wrong
// wherever the schema alone can say so.
func TestForeignValidator(t *testing.T) {
	need(t, "/usr/bin/python3")
	const script = `
import json, sys, yaml
from jsonschema import Draft202012Validator as V
schema = json.load(open("schema.json"))
V.check_schema(schema)
json.dump({name: next((e.message for e in V(schema).iter_errors(yaml.safe_load(text.replace("\t", " ")))), "") for name, text in json.load(sys.stdin).items()}, sys.stdout)
`
	if err := exec.Command("/usr/bin/python3", "-c", "import jsonschema, yaml; jsonschema.Draft202012Validator").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3-jsonschema or python3-yaml is missing")
		}
		t.Skip("python3-jsonschema or python3-yaml is missing")
	}
	texts := accepted(t)
	for _, wrong := range []string{
		`[{"lokal_loop": {}}]`, `[{"local_loop": {}}]`, `[{"a": 1, "b": 2}]`, `{"local_loop": {}}`, `[[["mkfs", {}]]]`, `[[["local_loop"]]]`,
		`[{"local_loop": {"name": "a", "size": "1GIB"}}]`, `[{"local_loop": {"name": "a", "mkfs": {"type": "ext5"}}}]`, `[{"mkfs": {"name": "a"}}]`,
		`[{"local_loop": {"name": "a", "partitioning": {"label": "gpt", "partitions": [{"name": "r", "size": "1%", "flags": ["primary"]}]}}}]`,
		`[{"local_loop": {"name": "a", "partitioning": {"label": "mbr", "partitions": [{"name": "r", "size": "1%", "uuid": "x"}]}}}]`,
		`[[], [], [], [], [], []]`,
	} {
		texts["wrong: "+wrong] = wrong
	}
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/usr/bin/python3", "-c", script)
	c.Stdin, c.Stderr = strings.NewReader(string(in)), os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	var said map[string]string
	if err := json.Unmarshal(out, &said); err != nil || len(said) != len(texts) {
		t.Fatalf("%v: %s", err, out)
	}
	for name, text := range texts {
		if wrong := strings.HasPrefix(name, "wrong: "); wrong != (said[name] != "") {
			t.Errorf("%s: %q\n%s", name, said[name], text)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := Parse([]byte(tableOfThree)); err != nil {
			b.Fatal(err)
		}
	}
}
