/* A program of musl's resolver, for tests: `NAME` prints the addresses that getaddrinfo finds, one a line, and `ptr
 * ADDRESS` the name that getnameinfo finds. Ends with 1 and the reason if there is none. */

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int failed(int code)
{
	fprintf(stderr, "%s\n", gai_strerror(code));
	return 1;
}

static int name_of(const char *address)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	char name[NI_MAXHOST];
	int code;

	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		code = getnameinfo((struct sockaddr *)&v4, sizeof v4, name, sizeof name, NULL, 0, NI_NAMEREQD);
	else if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1)
		code = getnameinfo((struct sockaddr *)&v6, sizeof v6, name, sizeof name, NULL, 0, NI_NAMEREQD);
	else
		return failed(EAI_NONAME);
	if (code)
		return failed(code);
	puts(name);
	return 0;
}

int main(int count, char **words)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found, *one;
	char text[INET6_ADDRSTRLEN];
	int code;

	if (count == 3 && !strcmp(words[1], "ptr"))
		return name_of(words[2]);
	if (count != 2)
		return 2;
	code = getaddrinfo(words[1], "80", &hints, &found);
	if (code)
		return failed(code);
	for (one = found; one; one = one->ai_next) {
		const void *address = one->ai_family == AF_INET
			? (const void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
			: (const void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
		puts(inet_ntop(one->ai_family, address, text, sizeof text));
	}
	return 0;
}
