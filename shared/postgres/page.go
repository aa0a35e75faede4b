package postgres

// Long answers are read page by page: each is read whole, and its connection given back, before any of it is written. So a
// reader, however slow, costs the memory of a page, and neither a connection nor a snapshot.
const (
	// PageBytes is the most that the large columns of a page hold together, unless its first row alone holds more.
	PageBytes = 1 << 20
	// FirstPageRows is how many rows are looked at for the first page.
	FirstPageRows = 250

	leastPageRows = 16
	mostPageRows  = 1000
)

// NextPageRows is how many rows are looked at for the page after one that held this many: few where rows are large, so that not
// many are looked at in vain.
func NextPageRows(held int) int { return min(max(2*held, leastPageRows), mostPageRows) }
