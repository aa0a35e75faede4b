package migrations

import "io/fs"

// Relations lists what all migrations leave behind of v2's own.
func Relations() (names []string, err error) {
	for _, s := range []set{userSet, rateLimitSet} {
		sources, err := s.sources()
		if err != nil {
			return nil, err
		}
		var applied []int64
		for _, source := range sources {
			applied = append(applied, source.version)
		}
		for _, r := range relations(sources, applied) {
			names = append(names, r.name)
		}
	}
	return names, nil
}

// Files are the migrations.
func Files() fs.FS { return files }
