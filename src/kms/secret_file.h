/*
 * secret_file.h
 *	  Files that hold a secret: read for each use, and only where nobody but the
 *	  server's user can have written or read them.
 *
 * A regular file, no symbolic link, of the user that runs the server, mode 0600 or
 * less, outside the data directory.  All is checked on the open file, so that
 * nothing can be swapped between check and use.
 */
#ifndef DP_KMS_SECRET_FILE_H
#define DP_KMS_SECRET_FILE_H

#include "kms/provider.h"

/*
 * Read a file of min to max bytes; how many, or -1 after ending the call (which
 * the caller must not go on with) in terms of what, "key file" for instance.  The
 * caller wipes out.
 */
extern int	dp_secret_file_read(DpKmsCall *call, const char *path, const char *what,
								uint8 *out, int min, int max);

#endif							/* DP_KMS_SECRET_FILE_H */
