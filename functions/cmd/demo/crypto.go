package main

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// The app's cryptography: AES-128 in CBC mode with PKCS#7 padding, and RSA-2048 with OAEP and PSS, both over SHA-256.

type aesKey [16]byte

func newKey() (key aesKey) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}

func newIV() []byte {
	iv := make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv) // never fails
	return iv
}

func encodeKey(key aesKey) []byte { return []byte(base64.StdEncoding.EncodeToString(key[:])) }

func decodeKey(text string) (key aesKey, err error) {
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(decoded) != len(key) {
		return key, errors.New("a key of a wrong form")
	}
	return aesKey(decoded), nil
}

const rsaBits = 2048

func newRSAKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, rsaBits) }

func encodePublicKey(key *rsa.PrivateKey) ([]byte, error) {
	return x509.MarshalPKIXPublicKey(key.Public())
}

func parsePublicKey(spki []byte) (*rsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("read public key: it is not RSA")
	}
	return key, nil
}

func encrypt(key aesKey, iv, text []byte) ([]byte, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(text)%aes.BlockSize
	padded := append(slices.Clone(text), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return padded, nil
}

func decrypt(key aesKey, iv, encrypted []byte) ([]byte, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	if len(encrypted) == 0 || len(encrypted)%aes.BlockSize != 0 || len(iv) != aes.BlockSize {
		return nil, errors.New("decrypt: not whole blocks")
	}
	text := slices.Clone(encrypted)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(text, text)
	padding := int(text[len(text)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, errors.New("decrypt: wrong padding")
	}
	return text[:len(text)-padding], nil
}

// seal appends a signature to the text and encrypts both.
func seal(key aesKey, signer *rsa.PrivateKey, text string) (iv, sealed []byte, err error) {
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPSS(rand.Reader, signer, crypto.SHA256, digest[:], nil)
	if err != nil {
		return nil, nil, err
	}
	iv = newIV()
	sealed, err = encrypt(key, iv, append([]byte(text), signature...))
	return iv, sealed, err
}

// openSealed decrypts what [seal] made and checks whose it is.
func openSealed(key aesKey, signer *rsa.PublicKey, iv, sealed []byte) (string, error) {
	whole, err := decrypt(key, iv, sealed)
	if err != nil {
		return "", err
	}
	if len(whole) < signer.Size() {
		return "", errors.New("open: there is no signature")
	}
	text, signature := whole[:len(whole)-signer.Size()], whole[len(whole)-signer.Size():]
	digest := sha256.Sum256(text)
	if err := rsa.VerifyPSS(signer, crypto.SHA256, digest[:], signature, nil); err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	return string(text), nil
}

// chunkSize is how much of a message the app encrypts at a time, in bytes.
const chunkSize = 122

func encryptFor(key *rsa.PublicKey, text []byte) (chunks [][]byte, err error) {
	for part := range slices.Chunk(text, chunkSize) {
		chunk, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key, part, nil)
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, chunk)
	}
	return chunks, nil
}

func decryptAs(key *rsa.PrivateKey, chunks [][]byte) (text []byte, err error) {
	for _, chunk := range chunks {
		part, err := rsa.DecryptOAEP(sha256.New(), nil, key, chunk, nil)
		if err != nil {
			return nil, err
		}
		text = append(text, part...)
	}
	return text, nil
}
