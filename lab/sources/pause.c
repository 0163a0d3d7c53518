/* Copyright (c) 2026, the clustercare.kubeadm authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 *
 * The first process of every pod: keeps the pod's namespaces open, buries its orphans, ends when told to.
 * With -v it exits with 0 at once: kubeadm's preflight runs it so.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
    sigset_t wanted;
    int number;

    if (argc > 1 && strcmp(argv[1], "-v") == 0) {
        puts("pause of the lab");
        return EXIT_SUCCESS;
    }
    /* Blocked and waited for one by one, so that no child's end is missed between two waits. */
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGCHLD);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    for (;;) {
        if (sigwait(&wanted, &number) != 0)
            return EXIT_FAILURE;
        if (number != SIGCHLD)
            return EXIT_SUCCESS;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
