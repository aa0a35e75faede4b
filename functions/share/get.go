package share

import (
	"context"
	"time"

	"github.com/liftlog/liftlog-api/shared/share"
)

// GetRequest names an item by the id in its link. No id that v1 gave out comes near the bound.
type GetRequest struct {
	ID string `json:"-" path:"id" maxBytes:"64" storable:"true" fault:"This is not the id of an item."`
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
