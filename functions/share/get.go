package share

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/share"
)

// GetRequest names an item by the id in its link.
type GetRequest struct {
	ID string `json:"-" path:"id"`
}

// maxID is far above any id that v1 ever gave out.
const maxID = 64

// Validate reports a name that no item can have.
func (r *GetRequest) Validate() error {
	var faults apierr.Faults
	plain := utf8.ValidString(r.ID) && !strings.ContainsRune(r.ID, 0)
	faults.Check(plain && len(r.ID) <= maxID, "id", "This is not the id of an item.")
	return faults.Err()
}

// GetResponse is the item, and the key to check its signature with.
type GetResponse struct {
	RSAPublicKey     RSAPublicKey `json:"rsaPublicKey"`
	EncryptedPayload Encrypted    `json:"encryptedPayload"`
}

// RSAPublicKey is a public key on the wire.
type RSAPublicKey struct {
	SPKIPublicKeyBytes []byte `json:"spkiPublicKeyBytes"`
}

// Get reads the item behind a link.
func (h *Handlers) Get(ctx context.Context, req GetRequest) (GetResponse, error) {
	item, err := share.Find(ctx, h.DB, req.ID, time.Now())
	return GetResponse{
		RSAPublicKey:     RSAPublicKey{item.RSAPublicKey},
		EncryptedPayload: Encrypted{EncryptedPayload: item.EncryptedPayload, IV: &IV{item.EncryptionIV}},
	}, err
}
