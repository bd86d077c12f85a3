/*
 * replay.c
 *	  A main() for fuzz targets where there is no libFuzzer.
 *
 *	replay SECONDS FOUND [FILE...]
 *
 * Runs each file as one input.  Then, for that many seconds, inputs made from a
 * fixed seed: each is random, or a changed copy of one that came before or of a
 * file.  The input that ends the process is written to the file FOUND.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX	4096
#define POOL		64

typedef struct Input
{
	size_t		len;
	uint8_t		bytes[INPUT_MAX];
} Input;

static Input pool[POOL];
static Input now;
static const char *found;
static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

/* xorshift64*: the same inputs in every run */
static uint32_t
roll(uint32_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t) ((state * UINT64_C(2685821657736338717)) >> 33) % below;
}

static void
keep_input(int signal_number)
{
	int			file = open(found, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (file < 0 || write(file, now.bytes, now.len) != (ssize_t) now.len)
		_exit(3);
	_exit(128 + signal_number);
}

static void
run(void)
{
	uint8_t    *copy = exact(now.len);

	memcpy(copy, now.bytes, now.len);
	LLVMFuzzerTestOneInput(copy, now.len);
	free(copy);
}

static void
make_random(void)
{
	size_t		i;

	now.len = roll(4) == 0 ? roll(INPUT_MAX + 1) : roll(160);
	for (i = 0; i < now.len; i++)
		now.bytes[i] = (uint8_t) roll(256);
}

static void
change(void)
{
	static const uint8_t edges[] = {0, 1, 0x0f, 0x10, 0x11, 0x17, 0x18, 0x7f, 0x80, 0xff};
	size_t		at = now.len > 0 ? roll((uint32_t) now.len) : 0;
	size_t		n;

	switch (roll(6))
	{
		case 0:					/* flip a bit */
			if (now.len > 0)
				now.bytes[at] ^= (uint8_t) (1 << roll(8));
			break;
		case 1:					/* a byte at the edge of something */
			if (now.len > 0)
				now.bytes[at] = edges[roll(sizeof(edges))];
			break;
		case 2:					/* cut the end */
			now.len = at;
			break;
		case 3:					/* repeat a piece */
			n = now.len - at < INPUT_MAX - now.len ? now.len - at : INPUT_MAX - now.len;
			memmove(now.bytes + now.len, now.bytes + at, n);
			now.len += n;
			break;
		case 4:					/* take a byte out */
			if (now.len > 0)
			{
				memmove(now.bytes + at, now.bytes + at + 1, now.len - at - 1);
				now.len--;
			}
			break;
		default:				/* the head of one, the tail of another */
			n = roll(POOL);
			if (pool[n].len > at)
			{
				memcpy(now.bytes + at, pool[n].bytes + at, pool[n].len - at);
				now.len = pool[n].len;
			}
			break;
	}
}

int
main(int argc, char **argv)
{
	unsigned long runs = 0;
	time_t		end;
	int			i;

	if (argc < 3)
	{
		fprintf(stderr, "usage: replay SECONDS FOUND [FILE...]\n");
		return 2;
	}
	found = argv[2];
	signal(SIGABRT, keep_input);
	signal(SIGSEGV, keep_input);
	signal(SIGBUS, keep_input);
	signal(SIGFPE, keep_input);

	for (i = 3; i < argc; i++)
	{
		FILE	   *file = fopen(argv[i], "rb");

		must(file != NULL);
		now.len = fread(now.bytes, 1, INPUT_MAX, file);
		fclose(file);
		run();
		pool[i % POOL] = now;
		runs++;
	}
	end = time(NULL) + atoi(argv[1]);
	while (time(NULL) < end)
	{
		for (i = 0; i < 500; i++, runs++)
		{
			if (roll(3) == 0)
				make_random();
			else
			{
				now = pool[roll(POOL)];
				do
					change();
				while (roll(3) != 0);
			}
			run();
			if (roll(20) == 0)
				pool[roll(POOL)] = now;
		}
	}
	printf("%lu inputs\n", runs);
	return 0;
}
