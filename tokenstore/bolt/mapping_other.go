//go:build !unix || solaris || aix

package bolt

import (
	"errors"
	"os"
)

// canMap says that counts don't outlive a killed process here, but for those saved.
const canMap = false

func mapFile(*os.File, int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func (*mappings) unmap() {}
