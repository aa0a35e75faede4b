// Package shortid makes the short ids that people pass on in links: the lookups of users and the ids of shared items.
package shortid

import "crypto/rand"

// length and the alphabets are those of the cuid2 ids that v1 gives out.
const (
	length  = 12
	letters = 26 // at the beginning of all
	all     = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// New returns a random id of the form [a-z][a-z0-9]{11}. It is not unique: whoever stores one has to be ready for a clash.
func New() string {
	id := make([]byte, 0, length)
	for len(id) < length {
		var random [2 * length]byte
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			alphabet := len(all)
			if len(id) == 0 {
				alphabet = letters
			}
			// Bytes beyond the last whole multiple of the alphabet are left out: they would favour its first letters.
			if int(b) < 256-256%alphabet && len(id) < length {
				id = append(id, all[int(b)%alphabet])
			}
		}
	}
	return string(id)
}
