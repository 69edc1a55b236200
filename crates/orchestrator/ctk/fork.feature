Feature: Fork Task

  # Tests that the output has the outputs of all branches in the order of their definition
  Scenario: Joining Fork
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: fork-join
      version: '1.0.0'
    do:
      - both:
          fork:
            branches:
              - slow:
                  do:
                    - pause:
                        wait: { milliseconds: 40 }
                    - say:
                        set:
                          word: ${ .word + "1" }
              - fast:
                  set:
                    word: ${ .word + "2" }
      - join:
          set:
            words: '${ [ .[].word ] }'
    """
    And given the workflow input is:
    """yaml
    word: w
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    words: [ w1, w2 ]
    """
    And fast should run before slow
    And join should run last

  # Tests that branches that are done are not done again
  Scenario: Joining Fork Over An Interruption
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: fork-interrupted
      version: '1.0.0'
    do:
      - both:
          fork:
            branches:
              - first:
                  call: http
                  with:
                    method: post
                    endpoint: https://httpbin.org/flaky/first/0
              - second:
                  do:
                    - pause:
                        wait: { milliseconds: 300 }
                    - ask:
                        call: http
                        with:
                          method: post
                          endpoint: https://httpbin.org/flaky/second/0
              - third:
                  do:
                    - hear:
                        listen:
                          to:
                            one:
                              with:
                                type: com.example.ordered
          output:
            as: '{ first: .[0].attempt, second: .[1].attempt, third: .[2][0] }'
    """
    When the workflow is started
    And the run has passed first
    And the run comes to pause
    And the run comes to hear
    And the run is interrupted and resumed
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 7
    """
    And the run is interrupted and resumed
    Then the workflow should complete with output:
    """yaml
    first: 1
    second: 1
    third: 7
    """
    And the service should have been asked 1 times at /flaky/first/0
    And the service should have been asked 1 times at /flaky/second/0

  # Tests that the error of a branch is that of the fork, and that the others are cancelled
  Scenario: Failing Branch
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: fork-fault
      version: '1.0.0'
    do:
      - both:
          fork:
            branches:
              - slow:
                  wait: { hours: 1 }
              - bad:
                  call: http
                  with:
                    method: get
                    endpoint: https://httpbin.org/status/404
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 404
    instance: /do/0/both/fork/branches/1/bad
    """
    And slow should cancel
    And bad should fault

  # Tests that the output is that of the first branch that is done, and that the others are cancelled
  Scenario: Competing Branches
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: fork-compete
      version: '1.0.0'
    do:
      - race:
          fork:
            compete: true
            branches:
              - slow:
                  wait: { hours: 1 }
              - fast:
                  do:
                    - pause:
                        wait: { milliseconds: 20 }
                    - say:
                        set:
                          won: fast
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    won: fast
    """
    And slow should cancel
    And fast should complete

  Scenario: Competing Branches Over An Interruption
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: fork-compete-interrupted
      version: '1.0.0'
    do:
      - race:
          fork:
            compete: true
            branches:
              - slow:
                  wait: { hours: 1 }
              - heard:
                  listen:
                    to:
                      one:
                        with:
                          type: com.example.ordered
      - pause:
          wait: { milliseconds: 200 }
      - say:
          set:
            won: ${ . }
    """
    When the workflow is started
    And the run comes to heard
    And the run is interrupted and resumed
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 3
    """
    And the run comes to pause
    And the run is interrupted and resumed
    Then the workflow should complete with output:
    """yaml
    won: [ 3 ]
    """

  # Tests that every iteration has branches of its own
  Scenario: Fork In A Loop
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: fork-loop
      version: '1.0.0'
    do:
      - loop:
          for:
            each: n
            in: '[ 1, 2 ]'
          do:
            - both:
                fork:
                  branches:
                    - a:
                        do:
                          - pause:
                              wait: { milliseconds: 5 }
                          - ten:
                              set:
                                value: ${ $n * 10 }
                    - b:
                        set:
                          value: ${ $n * 100 }
            - sum:
                set:
                  sum: '${ map(.value) | add }'
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sum: 220
    """
