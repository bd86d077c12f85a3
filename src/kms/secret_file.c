/*
 * secret_file.c
 *	  Files that hold a secret; see secret_file.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "kms/secret_file.h"
#include "miscadmin.h"

static void
fail_config(DpKmsCall *call, const char *what, const char *problem)
{
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR, "The %s %s.", what, problem);
}

/* True where the file lies below the data directory, symbolic links resolved. */
static bool
in_data_directory(const char *path)
{
	char		file[PATH_MAX];
	char		data[PATH_MAX];
	size_t		data_len;

	/* What cannot be resolved cannot be shown to lie outside. */
	if (realpath(path, file) == NULL || realpath(DataDir, data) == NULL)
		return true;
	data_len = strlen(data);
	return strncmp(file, data, data_len) == 0 && file[data_len] == '/';
}

/* False, and the call has ended, unless the open file is one to rely on. */
static bool
check_file(DpKmsCall *call, int fd, const char *path, const char *what, int min, int max)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		fail_config(call, what, "could not be examined");
	else if (!S_ISREG(st.st_mode))
		fail_config(call, what, "is not a regular file");
	else if (st.st_uid != geteuid())
		fail_config(call, what, "does not belong to the user that runs the server");
	else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The %s has permissions %04o; group and others must have none (chmod 0600).",
						 what, (unsigned int) (st.st_mode & 07777));
	else if (min == max && st.st_size != min)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The %s has %lld bytes instead of %d (openssl rand -out PATH 32).",
						 what, (long long) st.st_size, min);
	else if (st.st_size < min || st.st_size > max)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The %s has %lld bytes instead of %d to %d.", what, (long long) st.st_size, min, max);
	else if (in_data_directory(path))
		fail_config(call, what, "lies inside the data directory, and with it in every base backup");
	else
		return true;
	return false;
}

int
dp_secret_file_read(DpKmsCall *call, const char *path, const char *what, uint8 *out, int min, int max)
{
	int			got = 0;
	int			fd;

	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
	{
		if (errno == ELOOP)
			fail_config(call, what, "is a symbolic link");
		else
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
							 "The %s could not be opened: %s.", what, strerror(errno));
		return -1;
	}
	if (!check_file(call, fd, path, what, min, max))
	{
		close(fd);
		return -1;
	}
	while (got < max)
	{
		ssize_t		n = read(fd, out + got, max - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += n;
	}
	close(fd);
	if (got >= min)
		return got;
	dp_secret_wipe(out, max);
	fail_config(call, what, "could not be read");
	return -1;
}
