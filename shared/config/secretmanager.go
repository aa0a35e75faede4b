package config

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"sync"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/status"
)

// resolveTimeout bounds reading all of a program's secrets.
const resolveTimeout = 5 * time.Second

// reference is a value that stands for a secret: sm://project/secret, with /version at the end unless it is the latest.
var reference = regexp.MustCompile(`^sm://([a-z0-9-]+)/([A-Za-z0-9_-]+)(?:/([0-9]+|latest))?$`)

// resolve replaces references among the values of the variables by the secrets they stand for, all at the same time.
func (l *loader) resolve(ctx context.Context, variables []Variable, values map[string]string) (faults []error) {
	names := map[string]string{} // resource name of the secret, by variable
	for _, v := range variables {
		value := values[v.Name]
		if len(value) < 5 || value[:5] != "sm://" {
			continue
		}
		parts := reference.FindStringSubmatch(value)
		if parts == nil {
			faults = append(faults, fmt.Errorf("%s: is not sm://project/secret[/version]", v.Name))
			values[v.Name] = "" // said already
			continue
		}
		version := parts[3]
		if version == "" {
			version = "latest"
		}
		names[v.Name] = fmt.Sprintf("projects/%s/secrets/%s/versions/%s", parts[1], parts[2], version)
	}
	if len(names) == 0 {
		return faults
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	client, err := secretmanager.NewClient(ctx, l.secretManager...)
	if err != nil {
		return append(faults, fmt.Errorf("connect to Secret Manager: %w", err))
	}
	defer func() { _ = client.Close() }()

	var group sync.WaitGroup
	var mu sync.Mutex
	for variable, name := range names {
		group.Go(func() {
			secret, err := access(ctx, client, name)
			mu.Lock()
			defer mu.Unlock()
			values[variable] = secret
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", variable, err))
			}
		})
	}
	group.Wait()
	return faults
}

// access reads one secret. The client retries by itself while the service is unavailable.
func access(ctx context.Context, client *secretmanager.Client, name string) (string, error) {
	answer, err := client.AccessSecretVersion(ctx, &secretmanagerpb.AccessSecretVersionRequest{Name: name})
	if err != nil {
		return "", fmt.Errorf("read secret: %s", status.Code(err))
	}
	payload := answer.GetPayload()
	sum := int64(crc32.Checksum(payload.GetData(), crc32.MakeTable(crc32.Castagnoli)))
	if payload.DataCrc32C != nil && payload.GetDataCrc32C() != sum {
		return "", errors.New("read secret: it arrived damaged")
	}
	return string(payload.GetData()), nil
}
