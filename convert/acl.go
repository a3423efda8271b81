package convert

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// aclRecords are the PAX keys of POSIX ACLs, by the attribute in which Linux
// keeps them. They are star's, and what GNU tar writes and restores with --acls.
var aclRecords = map[string]string{
	"system.posix_acl_access":  "SCHILY.acl.access",
	"system.posix_acl_default": "SCHILY.acl.default",
}

// aclTags are the kinds of entries (include/uapi/linux/posix_acl.h) as their
// text begins; named ones have a number.
var aclTags = map[uint16]struct {
	text  string
	named bool
}{
	0x01: {text: "user"}, 0x02: {"user", true},
	0x04: {text: "group"}, 0x08: {"group", true},
	0x10: {text: "mask"}, 0x20: {text: "other"},
}

// aclText turns an attribute (include/uapi/linux/posix_acl_xattr.h: a version,
// then entries of tag, permissions and id, little-endian) into the short text
// form of acl(5), with numbers for names: they mean the same everywhere.
func aclText(value []byte) (string, error) {
	const version, entry = 2, 8
	if len(value) < 4 || (len(value)-4)%entry != 0 || binary.LittleEndian.Uint32(value) != version {
		return "", fmt.Errorf("an ACL of %d bytes that is not of version %d", len(value), version)
	}
	var out []string
	for b := value[4:]; len(b) > 0; b = b[entry:] {
		tag, ok := aclTags[binary.LittleEndian.Uint16(b)]
		if !ok {
			return "", fmt.Errorf("an ACL with an entry of the unknown kind %#x", binary.LittleEndian.Uint16(b))
		}
		id := ""
		if tag.named {
			id = fmt.Sprint(binary.LittleEndian.Uint32(b[4:]))
		}
		out = append(out, tag.text+":"+id+":"+aclPermissions(binary.LittleEndian.Uint16(b[2:])))
	}
	return strings.Join(out, ","), nil
}

func aclPermissions(bits uint16) string {
	b := []byte("---")
	for i, c := range []byte("rwx") {
		if bits&(4>>i) != 0 {
			b[i] = c
		}
	}
	return string(b)
}
